#!/usr/bin/env bash
# Makes the captioner that comes with the package (code/captioning/serving/photo_captioner) again, from Flickr8k in
# dataset/flickr8k (`bash prepare.sh data flickr8k`): cross-entropy, then self-critical training twice, the second time
# at a lower rate; weights in 16 bits. A few hours on 2 cores.
# Call it where `python` is the one of .venv.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
captioning() { python -m captioning "$@"; }

captioning train transformer --config code/configs/photos_transformer.yaml --run output/photos
captioning reinforce output/photos --config code/configs/photos_reinforce.yaml --run output/photos_rl
captioning reinforce output/photos_rl --config code/configs/photos_reinforce.yaml --run output/photos_rl2 \
    --training.epochs 3 --training.lr 1.0e-4 --training.seed 1
for beams in 1 3; do
    captioning evaluate output/photos --record --name "photos, cross-entropy" --decoding.beams "$beams" --decoding.max_length 20
    captioning evaluate output/photos_rl2 --record --name "photos, self-critical" --decoding.beams "$beams" --decoding.max_length 20
done
captioning export output/photos_rl2 --half --out output/photo_captioner
cp output/photo_captioner/{config.json,model.safetensors,tokenizer.json} code/captioning/serving/photo_captioner/
python -m captioning.course.world output/photos
