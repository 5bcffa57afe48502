"""Why is this structure here? What in the image a model's answer rests on."""
