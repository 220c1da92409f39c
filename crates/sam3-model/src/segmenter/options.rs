//! How a model is opened.

use rayon::{ThreadPool, ThreadPoolBuilder};
use sam3_tensor::{Device, ops::Compute};

use crate::error::{Error, Result};

/// Where a model runs, in what precision, at what size, on how many threads.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Options {
    pub(super) device: Device,
    text_device: Option<Device>,
    pub(super) compute: Compute,
    pub(super) image_size: Option<usize>,
    pub(super) clicks: bool,
    threads: Option<usize>,
}

impl Options {
    /// On this device, in f32, at the model's own size, on all of the CPU's threads.
    pub fn new(device: &Device) -> Self {
        Self {
            device: device.clone(),
            text_device: None,
            compute: Compute::F32,
            image_size: None,
            clicks: true,
            threads: None,
        }
    }

    /// With the encoders' large products in this precision. [`auto_compute`](crate::auto_compute) tells the one that
    /// suits checkpoint and device.
    pub fn compute(mut self, compute: Compute) -> Self {
        self.compute = compute;
        self
    }

    /// With the text encoder, which is nearly half of SAM 3's weights, on this device: its weights stay in the mapped
    /// file where that is [`Device::Cpu`]. A text is encoded once and serves every picture. Without this, on the CPU
    /// where the GPU's memory is the machine's, as a Jetson's, else beside the rest of the model.
    pub fn text_device(mut self, device: &Device) -> Self {
        self.text_device = Some(device.clone());
        self
    }

    /// Pictures are resized to squares of so many pixels a side for the model; without this, to the size that it was
    /// trained with. [`Segmenter::at_image_size`](crate::Segmenter::at_image_size) tells of the choice.
    pub fn image_size(mut self, image_size: usize) -> Self {
        self.image_size = Some(image_size);
        self
    }

    /// For texts and example boxes alone: an encoded image then keeps nothing for [`click`](crate::Segmenter::click),
    /// 21 MB at SAM 3's size.
    pub fn without_clicks(mut self) -> Self {
        self.clicks = false;
        self
    }

    /// On so many threads of the model's own, which other models do not share; 0 is as many as the CPU has.
    pub fn threads(mut self, threads: usize) -> Self {
        self.threads = Some(threads);
        self
    }

    /// Where texts are encoded.
    pub(super) fn device_of_texts(&self) -> &Device {
        match &self.text_device {
            Some(device) => device,
            None if self.device.is_integrated() => &Device::Cpu,
            None => &self.device,
        }
    }

    pub(super) fn pool(&self) -> Result<Option<ThreadPool>> {
        let Some(threads) = self.threads else {
            return Ok(None);
        };
        let pool = ThreadPoolBuilder::new().num_threads(threads).build();
        pool.map(Some).map_err(|error| Error::Threads(error.to_string()))
    }
}
