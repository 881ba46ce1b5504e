"""What the runners read: arrays, folders, TFDS; splits, batches, augmentation."""
