"""tensorflow-datasets builders; none needs TensorFlow."""
