"""Endings of audio and video files that genser finds in folders; a file with another ending can be named itself."""

LOSSLESS_ENDINGS = frozenset(
    (".wav", ".wave", ".flac", ".aif", ".aiff", ".aifc", ".au", ".snd", ".w64", ".rf64", ".caf", ".sph", ".wv")
)
LOSSY_ENDINGS = frozenset(
    (".ogg", ".oga", ".opus", ".mp3", ".mp2", ".m4a", ".m4b", ".mka", ".aac", ".wma", ".asf", ".amr")
)
VIDEO_ENDINGS = frozenset((".mp4", ".m4v", ".mkv", ".mov", ".avi", ".webm", ".3gp", ".flv"))
AUDIO_ENDINGS = LOSSLESS_ENDINGS | LOSSY_ENDINGS | VIDEO_ENDINGS
