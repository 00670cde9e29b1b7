"""The sets of MedMNIST v2: what they show, the MD5 of the published file, and their classes."""

_ORGANS = (
    "bladder",
    "femur-left",
    "femur-right",
    "heart",
    "kidney-left",
    "kidney-right",
    "liver",
    "lung-left",
    "lung-right",
    "pancreas",
    "spleen",
)
_ORGANS_3D = (
    "liver",
    "kidney-right",
    "kidney-left",
    "femur-right",
    "femur-left",
    "bladder",
    "heart",
    "lung-right",
    "lung-left",
    "spleen",
    "pancreas",
)

SEVERAL = ("chestmnist",)  # whose images have each of several findings, or not

# name: (modality, MD5 of the published 28-pixel file, classes or findings)
SETS = {
    "pathmnist": (
        "histology, H&E",
        "a8b06965200029087d5bd730944a56c1",
        (
            "adipose",
            "background",
            "debris",
            "lymphocytes",
            "mucus",
            "smooth muscle",
            "normal colon mucosa",
            "cancer-associated stroma",
            "colorectal adenocarcinoma epithelium",
        ),
    ),
    "chestmnist": (
        "chest X-ray",
        "02c8a6516a18b556561a56cbdd36c4a8",
        (
            "atelectasis",
            "cardiomegaly",
            "effusion",
            "infiltration",
            "mass",
            "nodule",
            "pneumonia",
            "pneumothorax",
            "consolidation",
            "edema",
            "emphysema",
            "fibrosis",
            "pleural thickening",
            "hernia",
        ),
    ),
    "dermamnist": (
        "dermatoscopy",
        "0744692d530f8e62ec473284d019b0c7",
        (
            "actinic keratoses",
            "basal cell carcinoma",
            "benign keratosis-like lesions",
            "dermatofibroma",
            "melanoma",
            "melanocytic nevi",
            "vascular lesions",
        ),
    ),
    "octmnist": (
        "retinal OCT",
        "c68d92d5b585d8d81f7112f81e2d0842",
        ("choroidal neovascularization", "diabetic macular edema", "drusen", "normal"),
    ),
    "pneumoniamnist": (
        "chest X-ray, paediatric",
        "28209eda62fecd6e6a2d98b1501bb15f",
        ("normal", "pneumonia"),
    ),
    "retinamnist": (
        "fundus photography",
        "bd4c0672f1bba3e3a89f0e4e876791e4",
        ("grade 0", "grade 1", "grade 2", "grade 3", "grade 4"),
    ),
    "breastmnist": (
        "breast ultrasound",
        "750601b1f35ba3300ea97c75c52ff8f6",
        ("malignant", "normal or benign"),
    ),
    "bloodmnist": (
        "microscopy of blood cells",
        "7053d0359d879ad8a5505303e11de1dc",
        (
            "basophil",
            "eosinophil",
            "erythroblast",
            "immature granulocyte",
            "lymphocyte",
            "monocyte",
            "neutrophil",
            "platelet",
        ),
    ),
    "tissuemnist": (
        "microscopy of kidney cortex",
        "ebe78ee8b05294063de985d821c1c34b",
        (
            "collecting duct",
            "distal convoluted tubule",
            "glomerular endothelial",
            "interstitial endothelial",
            "leukocyte",
            "podocyte",
            "proximal tubule",
            "thick ascending limb",
        ),
    ),
    "organamnist": ("abdominal CT, axial", "866b832ed4eeba67bfb9edee1d5544e6", _ORGANS),
    "organcmnist": ("abdominal CT, coronal", "0afa5834fb105f7705a7d93372119a21", _ORGANS),
    "organsmnist": ("abdominal CT, sagittal", "e5c39f1af030238290b9557d9503af9d", _ORGANS),
    "organmnist3d": ("abdominal CT", "21f0a239e7f502e6eca33c3fc453c0b6", _ORGANS_3D),
    "nodulemnist3d": ("chest CT", "8755a7e9e05a4d9ce80a24c3e7a256f3", ("benign", "malignant")),
    "adrenalmnist3d": (
        "shape from abdominal CT",
        "bbd3c5a5576322bc4cdfea780653b1ce",
        ("normal", "hyperplasia"),
    ),
    "fracturemnist3d": (
        "chest CT",
        "6aa7b0143a6b42da40027a9dda61302f",
        ("buckle", "nondisplaced", "displaced"),
    ),
    "vesselmnist3d": (
        "shape from brain MRA",
        "2ba5b80617d705141f3f85627108fce8",
        ("vessel", "aneurysm"),
    ),
    "synapsemnist3d": (
        "electron microscopy",
        "1235b78a3cd6280881dd7850a78eadb6",
        ("inhibitory", "excitatory"),
    ),
}

_SIDES = {2: (64, 128, 224), 3: (64,)}  # of MedMNIST+, beside 28


def ndim_of(name: str) -> int:
    """The axes of space of a set's images."""
    return 3 if base_of(name).endswith("3d") else 2


def base_of(name: str) -> str:
    """The name of a set without the size of its images: of `adrenalmnist3d_64` the first part."""
    return name.split("_", maxsplit=1)[0]


# The sets with the larger images of MedMNIST+, which are not downloaded: one names their folder.
LARGER = tuple(f"{name}_{side}" for name in SETS for side in _SIDES[ndim_of(name)])
