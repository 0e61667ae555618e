"""What a method may see of a training set: photos, image-level labels, boxes, saliency maps.

No path leads from here to a ground-truth mask.
"""
