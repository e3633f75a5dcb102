#!/usr/bin/env bash
# Makes the bundled model, engine/models/tiny-en, again; what was tried on the way is in LOG.md.
#
# usage: engine/training/tiny-en.sh SPEECH TEXT OUT [OPTION OF `earshot train ctc`]...
#   SPEECH  folder with train, words, synthetic, dev, long, noise (.jsonl) and alignments.jsonl.xz
#   TEXT    sentences, one a line, for synthesized speech (needs the program flite)
#   OUT     folder for everything that is made; started again, it goes on
# from nothing:    engine/training/tiny-en.sh ../shared/speech ../shared/text/en.txt.xz OUT --minutes 300
# from what is:    ... OUT --minutes 100 --from engine/models/tiny-en --adamw 8e-4 --muon 1.6e-3 --warmup 0 --hold 0
set -euo pipefail
speech=$1 text=$2 out=$3
shift 3
case " $* " in *" --from "*) begin=() ;; *) begin=(--shape tiny-en --delay 3) ;; esac

if [ ! -f "$out/made/done" ]; then
  earshot train synthesize "$text" --out "$out/made" --hours 9 --seed 0
  touch "$out/made/done"
fi
earshot train align "$out/made/manifest.jsonl" --out "$out/made/alignments.jsonl"
earshot train ctc "$speech"/{train,words,synthetic}.jsonl "$out/made/manifest.jsonl" --out "$out/run" "${begin[@]}" \
  --alignments "$speech/alignments.jsonl.xz" --alignments "$out/made/alignments.jsonl" --noise "$speech/noise.jsonl" \
  --dev "$speech/dev.jsonl" --dev "$speech/long.jsonl" --fold 0 \
  --weight commonvoice-en=2.2 --weight commonvoice-v1-en=3.2 --weight speechocean762=2.2 --weight kathleen-arctic=1.3 \
  --weight flite=3 --weight picovoice-wake-words=.3 --weight mycroft-wake-words=.15 --weight free-spoken-digits=.2 \
  --weight speech-commands=.1 --augment .8 --mask-time-prob .1 --mask-time-length 7 --mask-time-min-masks 0 \
  --hidden-dropout 0 --activation-dropout 0 --attention-dropout 0 --feat-proj-dropout 0 --conformer-conv-dropout 0 \
  --final-dropout 0 --layerdrop 0 "$@"
