// Adapts the model to the recordings in the list: learns a profile of them, which later requests carry.
import { learnProfile } from "./api.js";
import { counted, element, lasting } from "./dom.js";
import { saveProfile } from "./downloads.js";

export class Adaptation {
  constructor(recordings, { key, channel, onChange }) {
    Object.assign(this, { recordings, key, channel, onChange, profile: null, isLearning: false });
    element("adapt").addEventListener("click", () => this.learn());
    element("save-profile").addEventListener("click", () => saveProfile(this.profile));
    element("unadapt").addEventListener("click", () => {
      this.use(null, "The model is as it was.");
      element("adapt").focus(); // its own button is gone
    });
  }

  async learn() {
    const { files } = this.recordings;
    this.isLearning = true;
    this.update();
    this.say(`Learning from ${counted(files.length, "recording")} …`);
    try {
      const profile = await learnProfile(files, this.channel(), this.key());
      this.use(profile, "The model is adapted. All recordings are analysed again.");
    } catch (error) {
      this.say(`The model was not adapted. ${error.message}`);
    } finally {
      this.isLearning = false;
      this.update();
    }
  }

  use(profile, text) {
    this.profile = profile;
    const words = profile && `Adapted to ${counted(profile.clips, "clip")} of speech, ${lasting(profile.duration)} in all.`;
    const failed = Object.values(profile?.failed || {});
    this.say([words, profile?.remark, ...failed].filter(Boolean).join(" "));
    this.onChange(text);
  }

  say(text) { element("adapt-text").textContent = text; }

  /** Show what can be done now. */
  update() {
    element("adaptation").hidden = !this.recordings.files.length && !this.profile && !this.isLearning;
    element("adapt").disabled = this.isLearning || !this.recordings.files.length;
    for (const id of ["unadapt", "save-profile"]) element(id).hidden = !this.profile;
  }
}
