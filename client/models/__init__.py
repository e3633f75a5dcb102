"""What `earshot models` does.

speed      how fast this machine computes, measured once
rows       the catalogue, with what is here and how many streams of each fit
table      rows in a terminal, as lines and as JSON
details    all that is known of one model
examine    a checkpoint, loaded, tried and compared with transformers; the only one that needs torch
"""
