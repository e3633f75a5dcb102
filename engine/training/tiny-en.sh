#!/usr/bin/env bash
# Makes such a model as engine/models/tiny-en; the commands of those very weights, and what was tried, are in LOG.md.
#
# usage: engine/training/tiny-en.sh SPEECH TEXT OUT [MODEL]
#   SPEECH   folder with train, words, synthetic, dev, long, noise (.jsonl) and alignments.jsonl.xz
#   TEXT     sentences, one a line, which may teach spelling (.xz or not); their words' phones are PocketSphinx's
#   OUT      folder for everything that is made; started again, it goes on; the model comes to OUT/tiny-en
#   MODEL    train this one on, engine/models/tiny-en for one; without, begin from nothing
#   MINUTES  (environment) of the part from nothing, 300; what comes after has a third as many
set -euo pipefail
trap 'exit 130' INT # training that is stopped by Ctrl-C ends well, and is not done
usage="usage: tiny-en.sh SPEECH TEXT OUT [MODEL]"
speech=${1:?$usage} text=${2:?$usage} out=${3:?$usage} model=${4:-}
first=${MINUTES:-300}
second=$((first / 3))
if ((second < 1)); then
  echo "MINUTES is $first; it must be a whole number from 3 on" >&2
  exit 2
fi

learn() { # OUT [OPTION]...
  earshot train ctc "$speech"/{train,words,synthetic}.jsonl --out "$@" \
    --alignments "$speech/alignments.jsonl.xz" --noise "$speech/noise.jsonl" \
    --dev "$speech/dev.jsonl" --dev "$speech/long.jsonl" --fold 0 \
    --weight commonvoice-en=2.2 --weight commonvoice-v1-en=3.2 --weight speechocean762=2.2 --weight kathleen-arctic=1.3 \
    --weight flite=1 --weight picovoice-wake-words=.3 --weight mycroft-wake-words=.15 \
    --weight free-spoken-digits=.2 --weight speech-commands=.1 \
    --mask-time-prob .1 --mask-time-length 7 --mask-time-min-masks 0 \
    --hidden-dropout 0 --activation-dropout 0 --attention-dropout 0 --feat-proj-dropout 0 --conformer-conv-dropout 0 \
    --final-dropout 0 --layerdrop 0
}

if [ -z "$model" ]; then
  learn "$out/first" --shape tiny-en --delay 3 --augment .6 --minutes "$first"
  model=$out/deeper
  [ -d "$model" ] || earshot train grow "$out/first/model" --depth 8 --out "$model"
fi
learn "$out/second" --from "$model" --augment .6 --text "$text" --text-rows 2 --text-weight 1 \
  --adamw 6e-4 --muon 1e-3 --hold .27 --minutes "$second"
[ -d "$out/tiny-en" ] || earshot train blend "$out/second/model" "$model" --share .7 --share .3 --out "$out/tiny-en"
