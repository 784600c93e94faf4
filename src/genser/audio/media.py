"""Reads the default audio track of a container through PyAV, on the recording's own clock."""

from collections.abc import Iterator
from typing import Any

import numpy as np

from genser.audio.converter import Converter
from genser.audio.ogg import has_page
from genser.audio.readers import CHANNELS_CHANGE, CUT_OFF, DAMAGED, LACKS, scaled
from genser.audio.view import ByteStream, size_of
from genser.errors import AudioError, MissingExtraError

INDEXED = {"mov", "matroska"}
"""Demuxers of containers whose clock begins at 0, whose headers state the length, and which can seek."""
STAMPED = INDEXED | {"asf", "avi", "flv", "mpeg", "mpegts", "mxf", "nut", "ogg"}
"""Demuxers of containers with times of their own; in the others, the samples count."""
START_TOLERANCE = 0.01  # seconds by which a track may begin late or early, as codecs with a delay do
TOLERANCE = 0.1  # seconds by which a time may differ from the samples: containers round, and clocks drift
STATED = INDEXED | {"avi", "caf", "flv", "rm", "tta", "wv"}
"""Demuxers of containers whose headers state the length; elsewhere, FFmpeg may have estimated it."""
CHECKED = ("flac", "tta", "wavpack")
"""Decoders that compare sums of what they decode, if they are asked to."""
CONSTANT = ("dca", "mp1float", "mp2float")
"""Decoders of codings whose packets have one size, so a shorter last one is cut off; they do not say so."""
LONGEST_OVERLAP = 1.0  # seconds; a longer step back is another count of time, as where two recordings were joined
LONGEST_GAP = {"mpegts": 10.0, "mpeg": 10.0}  # seconds; there, a longer one is another count of time
LONGEST_GAP_ELSEWHERE = 3 * 3600.0
SILENCE = 1 << 16  # frames of silence given at once
LONGEST_FRAME = 0.3  # seconds that the last frame may hold beyond the declared length, or lack
MOST_CUT = 3  # packets at the end that may be broken
LARGEST_REST = {True: 0.05, False: 0.3}
"""Share of a file behind the last packet beyond which it is damaged, not cut off; by whether sound is all it holds."""
LONGEST_PACKET = 1 << 14  # bytes of a packet that may be cut off
NAMED_GAP = 0.5  # seconds of missing or overlapping sound that a remark must name


class MediaReader:
    """Frames of the default audio track of a container, which is the first if none is marked.

    Frames lie where the container's times put them: silence stands before a track that begins late and where packets
    are missing, and what overlaps is cut.

    Args:
        stream: The file.
        demuxer: FFmpeg's name of the container.
        name: Name of the source for messages.

    Raises:
        AudioError: The container cannot be read, or has no audio.
        MissingExtraError: PyAV is not installed.
    """

    frames: int | None = None

    def __init__(self, stream: ByteStream, demuxer: str, name: str) -> None:
        try:
            import av
        except ImportError as error:
            raise MissingExtraError("media", f"Reading {name} ({demuxer})") from error
        self._av, self._name, self._demuxer, self.format = av, name, demuxer, demuxer.upper()
        self.remarks: list[str] = []
        stream.seek(0)
        try:
            # No protocol may be opened: a container can name other files.
            options = {"protocol_whitelist": "none", "format_whitelist": demuxer}
            self._container = av.open(stream, mode="r", format=demuxer, container_options=options)
        except (av.FFmpegError, ValueError) as error:
            raise AudioError(
                f"{name} cannot be read as {demuxer}: its header is damaged, incomplete or of an unknown kind. "
                "Copy it again, or convert it to wav or flac."
            ) from error
        tracks = self._container.streams.audio
        if not tracks:
            raise AudioError(f"{name} has no audio track. Choose a recording with audio.")
        index = next((index for index, track in enumerate(tracks) if track.disposition & 1), 0)  # 1: default
        if len(tracks) > 1:
            which = "the first" if index == 0 else f"number {index + 1}, its default,"
            self.remarks.append(f"The file has {len(tracks)} audio tracks; only {which} was read.")
        self._track = tracks[index]
        if self._track.codec_context.name in CHECKED:
            self._track.codec_context.options = {"err_detect": "crccheck+explode"}
        self._stream, self._position, self._reached = stream, 0, 0
        self._decoded_frames = self._decoded()
        first = next(self._decoded_frames, None)
        if first is None:
            raise AudioError(f"{name} holds no audio that can be decoded. Copy or encode it again.")
        self.sample_rate, self.channels = first.sample_rate, first.layout.nb_channels
        self._begin(first)

    def _begin(self, first: Any) -> None:
        """Set the clock by the first frame."""
        track, container, second = self._track, self._container, self._av.time_base
        start = float((track.start_time or 0) * (track.time_base or 0))
        self._origin: float = (container.start_time or 0) / second
        end = float((track.duration or 0) * (track.time_base or 0)) + max(start, 0.0)
        if not track.duration:
            end = (container.duration or 0) / second if len(container.streams) == 1 else 0.0
        if self._demuxer in INDEXED:
            self._origin = start if abs(start) <= START_TOLERANCE else 0.0
            self.frames = round((end - self._origin) * self.sample_rate) if end > self._origin else None
        self._stated = end - self._origin if self._demuxer in STATED else 0.0
        if first.time is not None and first.time - self._origin > self._longest_gap:
            self.remarks.append(f"The times in the file begin at {first.time:.0f} s; they are counted from there.")
            self._origin, self.frames, self._stated = first.time, None, 0.0
        self._start = self._silence = self._overlap = 0
        self._is_cut = self._has_jumped = False
        self._pending = np.empty((0, self.channels), np.float32)
        # Elsewhere the first time may be that of a packet whose samples the decoder does not return.
        self._blocks = self._clocked(first, 0.0 if self._demuxer in INDEXED else TOLERANCE)

    @property
    def _longest_gap(self) -> float:
        return LONGEST_GAP.get(self._demuxer, LONGEST_GAP_ELSEWHERE)

    def close(self) -> None:
        """Free the decoder."""
        self._container.close()

    def seek(self, frame: int) -> None:
        """Go to a frame; decoding starts half a second before it, as frames depend on earlier ones.

        Containers without an index are decoded from their beginning, as FFmpeg can only estimate where a time is.

        Raises:
            AudioError: The container is damaged.
        """
        self._start = frame
        seconds = frame / self.sample_rate - 0.5
        if self._demuxer not in INDEXED or seconds <= 0:
            return
        assert self._track.time_base is not None  # both demuxers set it
        try:
            self._container.seek(int((seconds + self._origin) / self._track.time_base), stream=self._track)
        except self._av.FFmpegError as error:
            raise AudioError(
                f"{self._name} cannot be cut at {seconds:.1f} s: it is damaged. Convert it to wav."
            ) from error
        self._decoded_frames = self._decoded()
        first = next(self._decoded_frames, None)
        if first is None:
            self._blocks = iter(())
            return
        self._position = frame if first.time is None else round((first.time - self._origin) * self.sample_rate)
        self._position = min(self._position, frame)  # later, if it is in a gap or before a track that begins late
        self._blocks = self._clocked(first, 0.0)

    def read(self, frames: int) -> np.ndarray:
        """Return the next frames.

        Raises:
            AudioError: The data are damaged, and intact data follow the damage.
        """
        blocks, count = [self._pending], len(self._pending)
        while count < frames and (block := next(self._blocks, None)) is not None:
            blocks.append(block)
            count += len(block)
        joined = np.concatenate(blocks)
        self._pending = joined[frames:]
        return joined[:frames]

    def _decoded(self) -> Iterator[Any]:
        """Yield the frames of the decoder; where it fails at the end only, the file is cut off."""
        packets = self._container.demux(self._track)
        failures, error, is_begun = 0, None, False
        sizes, broken = [], []  # of the packets; which of the last ones lack a part
        while True:
            packet = None
            try:
                packet = next(packets, None)
                frames = packet.decode() if packet else []
            except self._av.EOFError:
                break
            except IndexError as problem:  # of PyAV, if FFmpeg took damaged data for the begin of another track
                if self._is_followed():
                    raise self._damaged() from problem
                break
            except (self._av.FFmpegError, ValueError) as problem:
                frames = []
                if is_begun:  # a dump may begin within a frame
                    error, failures = problem, failures + 1
            if error and (failures > MOST_CUT or (frames and packet and packet.size)):
                raise self._damaged() from error
            if packet and packet.size:
                if packet.pos is not None:
                    self._reached = max(self._reached, packet.pos + packet.size)
                sizes, broken = [*sizes[:1], packet.size], broken[1 - MOST_CUT :]
                broken.append(packet.is_corrupt or any(frame.is_corrupt for frame in frames))
            yield from frames
            is_begun |= bool(frames)
            if packet is None:  # the end, or damage to the container
                break
        is_short = self._track.codec_context.name in CONSTANT and sizes and sizes[-1] < sizes[0] - 1
        self._is_cut = error is not None or any(broken) or bool(is_short)

    def _damaged(self) -> AudioError:
        return AudioError(DAMAGED.format(self._name, self._position / self.sample_rate if self._position else 0.0))

    def _clocked(self, first: Any, tolerance: float) -> Iterator[np.ndarray]:
        """Yield the sound from the start on, with silence where the container's times leave gaps."""
        frame, form = first, (first.sample_rate, first.layout.nb_channels)
        converter = self._converter(*form)
        while frame is not None:
            if form != (frame.sample_rate, frame.layout.nb_channels):
                yield from self._placed(None, converter.flush(), TOLERANCE)
                form = frame.sample_rate, frame.layout.nb_channels
                converter = self._converter(*form)
            block = converter.convert(self._samples(frame))
            yield from self._placed(frame.time, block, tolerance)
            tolerance = TOLERANCE
            frame = next(self._decoded_frames, None)
        yield from self._placed(None, converter.flush(), TOLERANCE)
        self._remark_at_end()

    def _samples(self, frame: Any) -> np.ndarray:
        """The samples of a frame of PyAV as float32, shape (frames, channels)."""
        if frame.format.name.startswith("s64"):  # NumPy's conversion in PyAV has none
            frame = self._av.AudioResampler("dbl").resample(frame)[0]
        array = frame.to_ndarray()
        return scaled(array.T if frame.format.is_planar else array.reshape(-1, frame.layout.nb_channels))

    def _converter(self, sample_rate: int, channels: int) -> Converter:
        if channels != self.channels:
            self.remarks.append(CHANNELS_CHANGE.format(self._position / self.sample_rate, channels, self.channels))
        return Converter((sample_rate, self.sample_rate), self.channels)

    def _placed(self, time: float | None, block: np.ndarray, tolerance: float) -> Iterator[np.ndarray]:
        """Put a block at its time, given in seconds of the container."""
        gap = 0.0
        if time is not None and self._demuxer in STAMPED:
            gap = time - self._origin - self._position / self.sample_rate
            if gap > self._longest_gap or gap < -LONGEST_OVERLAP:
                self._jump(gap)
                gap = 0.0
        samples = round(gap * self.sample_rate) if abs(gap) > tolerance else 0
        if samples > 0:
            self._silence += samples
            end = self._position + samples
            self._position = min(max(self._position, self._start), end)
            while self._position < end:
                count = min(end - self._position, SILENCE)
                self._position += count
                yield np.zeros((count, self.channels), np.float32)
        self._overlap += min(max(-samples, 0), len(block))
        block = block[max(-samples, 0) :]
        early = self._start - self._position
        self._position += len(block)
        yield block[max(early, 0) :]

    def _jump(self, gap: float) -> None:
        """Go on where the times do not: another count of time begins."""
        seconds = self._position / self.sample_rate
        if gap > 0 and self._demuxer in INDEXED:
            raise AudioError(
                f"By its time stamps {self._name} has no sound for {gap:.0f} s after {seconds:.2f} s, which cannot "
                "be right. Convert it to wav."
            )
        self._origin += gap
        if not self._has_jumped:
            self.remarks.append(
                f"At {seconds:.2f} s the times in the file jump by {gap:.2f} s; the sound goes on there."
            )
        self._has_jumped = True

    def _remark_at_end(self) -> None:
        seconds = self._position / self.sample_rate
        if self._silence > NAMED_GAP * self.sample_rate:
            self.remarks.append(
                f"Sound is missing for {self._silence / self.sample_rate:.2f} s in all; silence stands in for it."
            )
        if self._overlap > NAMED_GAP * self.sample_rate:
            self.remarks.append(
                f"By the file's times, {self._overlap / self.sample_rate:.2f} s of sound overlap; they were cut."
            )
        lacks = self._stated - seconds > LONGEST_FRAME
        if (lacks or self._is_cut) and self._is_followed():
            raise self._damaged()
        if lacks and self._demuxer in INDEXED:
            self.remarks.append(CUT_OFF.format(seconds, self._stated))
        elif lacks and not self.remarks:
            self.remarks.append(LACKS.format(seconds, self._stated))
        elif self._is_cut and not any(remark.startswith("The file is cut off") for remark in self.remarks):
            self.remarks.append(f"The file is cut off after {seconds:.2f} s.")

    def _is_followed(self) -> bool:
        """Whether much of the file lies behind the last packet, so that it is damaged there and not cut off."""
        if not self._reached:
            return False
        if self._demuxer == "ogg":
            return has_page(self._stream, self._reached)
        size = size_of(self._stream)
        share = LARGEST_REST[len(self._container.streams) == 1]
        return size - self._reached > max(share * size, LONGEST_PACKET)
