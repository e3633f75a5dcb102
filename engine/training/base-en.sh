#!/usr/bin/env bash
# Makes such a model as engine/models/base-en; the commands of those very weights, and what was tried, are in LOG.md.
#
# usage: engine/training/base-en.sh SPEECH WHISPER OUT [MODEL]
#   SPEECH   folder with train, words, synthetic, dev, noise (.jsonl) and alignments.jsonl.xz
#   WHISPER  openai/whisper-base, or a folder with its encoder in Hugging Face's format
#   OUT      folder for everything that is made; started again, it goes on; the model comes to OUT/base-en
#   MODEL    train this one on, engine/models/base-en for one; without, begin with a new head
#   MINUTES  (environment) of each of the two parts, 110
set -euo pipefail
trap 'exit 130' INT # training that is stopped by Ctrl-C ends well, and is not done
usage="usage: base-en.sh SPEECH WHISPER OUT [MODEL]"
speech=${1:?$usage} whisper=${2:?$usage} out=${3:?$usage} model=${4:-}

learn() { # OUT [OPTION]...
  earshot train ctc "$speech"/{train,words,synthetic}.jsonl --out "$@" \
    --alignments "$speech/alignments.jsonl.xz" --noise "$speech/noise.jsonl" --dev "$speech/dev.jsonl" --fold 0 \
    --minutes "${MINUTES:-110}" --seconds 32 --mix .5 --augment .7 --delay 1 --by-frame 0 --eager
}

if [ -z "$model" ]; then # the new layers and the head alone, on the encoder as it is
  learn "$out/head" --from "$whisper" --freeze-body 1 --adamw 1e-3 --muon 2e-3
  model=$out/head/model
fi
# Then all but the lowest layers, at rates that are lower from layer to layer, and fall to zero.
learn "$out/tuned" --from "$model" --freeze-layers 2 --layer-decay .85 --adamw 1e-4 --warmup .06 --hold .3
[ -d "$out/base-en" ] || earshot train blend "$out/tuned/model" --dtype int8 --out "$out/base-en"
