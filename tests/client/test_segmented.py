"""A folder of captions that players poll: read here by FFmpeg's HLS, while it grows and at its end."""

from pathlib import Path

import av
import numpy as np
import pytest
import soundfile

from earshot_asr.client.files import FileAudio
from earshot_asr.client.live import caption
from earshot_asr.client.options import Case
from earshot_asr.client.segmented import SegmentFolder, segmented
from earshot_asr.engine.errors import ConfigError, OutputError
from earshot_asr.server.wire import Ack, FinalMessage
from tests.helpers import silence, small_files, speak
from tests.server.loopback import serving

FINAL = FinalMessage(16_000, 1.0, 2.0, "HELLO", 0.9, 40_000)


def played(folder: Path) -> list[tuple[int, str]]:
    """The cues that a player shows, with their times in ms."""
    with av.open(str(folder / "captions.m3u8")) as playlist:
        return [(packet.pts or 0, bytes(packet).decode()) for packet in playlist.demux() if packet.size]


async def test_a_stream_is_played(tmp_path: Path) -> None:
    pcm = [silence(1), speak("GOOD MORNING"), silence(7), speak("SO IT BEGINS"), silence(5)]
    soundfile.write(tmp_path / "a.wav", np.concatenate(pcm), 16_000)
    async with serving() as server:
        with segmented(tmp_path / "new" / "folder", None, ()) as also, FileAudio(tmp_path / "a.wav", 0) as audio:
            await caption(server.url, audio, also, retry=0)
    first, second = played(tmp_path / "new" / "folder")
    assert (first[1], second[1]) == ("Good morning", "So it begins")
    assert first[0] == pytest.approx(1000, abs=100)
    assert second[0] == pytest.approx(1000 * (len(np.concatenate(pcm[:3])) / 16_000), abs=100)


def test_it_can_be_played_while_it_grows(tmp_path: Path) -> None:
    with segmented(tmp_path, Case.model, ()) as (folder,):
        folder.hear(silence(20), 0.0, 0.0)
        assert [*tmp_path.iterdir()] == []
        folder.show(FINAL, 0.0)
        folder.show(Ack(200_000, 200_000, 200_000), 0.0)
        assert sorted(path.name for path in tmp_path.iterdir()) == [
            "captions-000000.vtt",
            "captions-000001.vtt",
            "captions.m3u8",
        ]
        assert "HELLO" in (tmp_path / "captions-000000.vtt").read_text(encoding="utf-8")
        assert "ENDLIST" not in (tmp_path / "captions.m3u8").read_text(encoding="utf-8")
    assert played(tmp_path) == [(1000, "HELLO")]  # the stream has ended early: what was said is there


def test_captions_of_another_stream_are_kept(tmp_path: Path) -> None:
    (tmp_path / "captions.m3u8").write_text("#EXTM3U\n", encoding="utf-8")
    with pytest.raises(ConfigError, match="there are captions in"):
        SegmentFolder(tmp_path)


def test_a_folder_that_can_not_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("", encoding="utf-8")
    with pytest.raises(OutputError, match="can't make the folder"):
        SegmentFolder(tmp_path / "file" / "folder")
    folder = SegmentFolder(tmp_path)
    with small_files(10), pytest.raises(OutputError, match=r"can't write .*captions-000000.vtt"):
        folder.show(Ack(200_000, 200_000, 200_000), 0.0)
