#!/usr/bin/env bash
# Makes the captioner that comes with the package (code/captioning/serving/photo_captioner) again, from Flickr8k in
# dataset/flickr8k (`bash prepare.sh data flickr8k`): cross-entropy, then self-critical training; weights in 16 bits, and
# each picture seen mirrored, too. Its two trainings took 24 and 48 minutes on one core.
# Call it where `python` is the one of .venv.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
captioning() { python -m captioning "$@"; }

captioning train transformer --config code/configs/photos_transformer.yaml --run output/flickr8k_photos
captioning reinforce output/flickr8k_photos --config code/configs/photos_reinforce.yaml --run output/flickr8k_photos_rl
captioning export output/flickr8k_photos_rl --half --mirrored --out output/photo_captioner
score() { captioning evaluate "$1" --record --name "$2, $3" --decoding.beams "$4" --decoding.max_length 20; }
for run in flickr8k_photos flickr8k_photos_rl photo_captioner; do
    case $run in
        flickr8k_photos) name="photos, cross-entropy" ;;
        flickr8k_photos_rl) name="photos, self-critical" ;;
        photo_captioner) name="photo captioner" ;;
    esac
    score "output/$run" "$name" greedy 1
    score "output/$run" "$name" "beam 3" 3
done
cp output/photo_captioner/{config.json,model.safetensors,tokenizer.json} code/captioning/serving/photo_captioner/
python -m captioning.course.world output/flickr8k_photos
