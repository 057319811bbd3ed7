"""The smallest documents of Karpathy's and COCO's formats."""

KARPATHY = {"images": [{"filename": "a.jpg", "split": "restval", "sentences": [{"tokens": ["a", "dog"]}]}]}
COCO = {"images": [{"id": 1, "file_name": "a.jpg"}], "annotations": [{"image_id": 1, "caption": "a dog"}]}
