"""The supervision that methods may use: photos, image-level labels, boxes and saliency maps.

This package gives no access to ground-truth masks.
"""
