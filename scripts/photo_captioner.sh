#!/usr/bin/env bash
# Makes the captioner that comes with the package (code/captioning/serving/photo_captioner) again, from Flickr8k in
# dataset/flickr8k (`bash prepare.sh data flickr8k`): cross-entropy, then self-critical training, weights in 16 bits.
# Call it where `python` is the one of .venv.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
captioning() { python -m captioning "$@"; }

captioning train transformer --config code/configs/flickr8k_photos.yaml --run output/photos
captioning reinforce output/photos --config code/configs/flickr8k_photos_reinforce.yaml --run output/photos_rl
captioning evaluate output/photos --record --name "photo captioner, cross-entropy"
captioning evaluate output/photos_rl --record --name "photo captioner"
captioning export output/photos_rl --half --out output/photo_captioner
cp output/photo_captioner/{config.json,model.safetensors,tokenizer.json} code/captioning/serving/photo_captioner/
python -m captioning.course.world output/photos
