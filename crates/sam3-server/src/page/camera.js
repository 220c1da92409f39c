// A picture from the browser's camera, which browsers hand out on localhost and over TLS alone.

const $ = (id) => document.getElementById(id);

export function camera({ open, say }) {
  const video = $("video");
  const showing = (isOn) => {
    video.hidden = $("camera-bar").hidden = !isOn;
    $("canvas").hidden = isOn;
  };
  const off = () => {
    video.srcObject?.getTracks().forEach((track) => track.stop());
    video.srcObject = null;
    showing(false);
  };

  $("camera").addEventListener("click", async () => {
    if (!navigator.mediaDevices?.getUserMedia) {
      return say("browsers give pages a camera on localhost and over TLS alone", true);
    }
    try {
      video.srcObject = await navigator.mediaDevices.getUserMedia({ video: { facingMode: "environment", width: { ideal: 1920 } } });
    } catch (error) {
      return say(`no camera: ${error.message}`, true);
    }
    await video.play();
    showing(true);
    $("shoot").focus();
  });
  $("camera-off").addEventListener("click", off);
  $("shoot").addEventListener("click", async () => {
    const canvas = new OffscreenCanvas(video.videoWidth, video.videoHeight);
    canvas.getContext("2d").drawImage(video, 0, 0);
    off();
    open(await canvas.convertToBlob({ type: "image/png" }), "camera.png");
  });
}
