"""The 32 anatomical fiducials (AFIDs) of the brain, where they lie in the ICBM-152 template.

Published coordinates of the ground truth for MNI152NLin2009bSym: Lau et al., Human Brain Mapping
40:4163-4179, 2019, and Taha et al., Scientific Data 10:449, 2023 (CC BY 4.0). RAS millimetres.
"""

CITATION = (
    "Lau et al., A framework for evaluating correspondence between brain images using "
    "anatomical fiducials. Human Brain Mapping 40:4163-4179, 2019; Taha et al., Scientific "
    "Data 10:449, 2023."
)
AFIDS_RAS_MM = {
    "AC": (-0.1198, 2.5521, -4.8172),
    "PC": (0.1409, -25.124, -2.096),
    "infracollicular sulcus": (0.1302, -37.8742, -10.0582),
    "PMJ": (0.0267, -23.351, -21.8763),
    "superior interpeduncular fossa": (-0.0161, -14.3917, -10.7025),
    "R superior LMS": (13.3752, -26.0718, -9.7885),
    "L superior LMS": (-13.0502, -26.3842, -9.7601),
    "R inferior LMS": (11.1066, -30.2186, -21.3211),
    "L inferior LMS": (-10.8376, -30.3554, -21.0271),
    "culmen": (-0.0609, -52.3597, 2.0239),
    "intermammillary sulcus": (-0.1759, -8.2025, -15.3996),
    "R MB": (2.1025, -8.1262, -14.502),
    "L MB": (-1.8504, -7.9914, -14.413),
    "pineal gland": (-0.183, -31.2358, 0.5864),
    "R LV at AC": (15.1932, 6.0314, 25.2426),
    "L LV at AC": (-15.4322, 6.2286, 24.9267),
    "R LV at PC": (18.5495, -22.7309, 28.598),
    "L LV at PC": (-18.6767, -22.7815, 28.4248),
    "genu of CC": (0.0024, 33.4387, 2.5246),
    "splenium of CC": (0.133, -37.6245, 6.401),
    "R AL temporal horn": (34.4787, -4.88, -26.8143),
    "L AL temporal horn": (-34.3701, -4.8479, -26.9405),
    "R superior AM temporal horn": (17.9368, -10.9397, -17.9412),
    "L superior AM temporal horn": (-18.2146, -10.7848, -18.1403),
    "R inferior AM temporal horn": (20.9107, -4.4101, -27.6511),
    "L inferior AM temporal horn": (-20.9084, -4.5878, -27.2966),
    "R indusium griseum origin": (13.6942, -43.103, 5.8552),
    "L indusium griseum origin": (-13.3394, -43.3071, 5.9031),
    "R ventral occipital horn": (19.8371, -81.1685, 3.9074),
    "L ventral occipital horn": (-19.9353, -81.2627, 4.2487),
    "R olfactory sulcal fundus": (12.5426, 17.7086, -12.7479),
    "L olfactory sulcal fundus": (-12.8065, 18.1137, -12.8598),
}
# R and L change places in a mirror image.
MIRRORED = tuple((name, f"L{name[1:]}") for name in AFIDS_RAS_MM if name.startswith("R "))
MIDLINE = tuple(name for name in AFIDS_RAS_MM if not name.startswith(("R ", "L ")))
