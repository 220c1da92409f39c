//! What a JPEG says of itself before its picture is decoded, and where the picture ends.

/// The next step where a JPEG is whole but of a kind that is not read.
pub const CONVERT: &str = "write it as a baseline JPEG or a PNG, for example: magick FILE out.png";

const CUT: &str = "damaged JPEG: the file ends before the picture does; copy it again";

/// One of the planes that a picture is stored as.
#[derive(Debug, PartialEq)]
pub struct Component {
    pub name: u8,
    /// Samples in a block of the picture, across and down, beside the other components'.
    pub sampling: [u8; 2],
}

/// The segments of a file's first picture.
#[derive(Debug, Default)]
pub struct Header<'a> {
    pub width: u16,
    pub height: u16,
    pub components: Vec<Component>,
    /// The number of the frame's marker: 0 and 1 are sequential, 2 is progressive.
    process: u8,
    precision: u8,
    pub jfif: bool,
    /// The transform in Adobe's segment, where there is one.
    pub adobe: Option<u8>,
    /// All EXIF segments in one: Pillow reads the first, which may go on in the next.
    pub exif: Option<Vec<u8>>,
    pub xmp: Option<&'a [u8]>,
    /// There are Huffman tables before the first scan.
    pub has_tables: bool,
    /// The components' indices of each scan.
    scans: Vec<Vec<usize>>,
    /// Behind the end-of-image marker.
    pub end: usize,
}

impl<'a> Header<'a> {
    /// Walks from marker to marker, through the scans too, up to the end of the first picture.
    pub fn read(bytes: &'a [u8]) -> Result<Self, String> {
        let mut header = Header::default();
        let mut at = 2; // behind the start-of-image marker
        loop {
            let (start, marker) = next_marker(bytes, at).ok_or(CUT)?;
            at = start + 2;
            match marker {
                0xd9 => {
                    header.end = at;
                    break;
                }
                // Another picture begins: a copy that broke off, and something behind it.
                0xd8 => return Err(CUT.to_owned()),
                0x01 | 0xd0..=0xd7 => continue,
                _ => {}
            }
            let length = bytes.get(at..at + 2).ok_or(CUT)?;
            let length = usize::from(u16::from_be_bytes([length[0], length[1]]));
            let segment = bytes.get(at + 2..at + length.max(2)).ok_or(CUT)?;
            at += length.max(2);
            header.segment(marker, segment)?;
        }
        if header.components.is_empty() || header.scans.is_empty() {
            return Err("damaged JPEG: it ends before a picture begins; copy it again".to_owned());
        }
        Ok(header)
    }

    fn segment(&mut self, marker: u8, segment: &'a [u8]) -> Result<(), String> {
        match marker {
            0xc4 => self.has_tables |= self.scans.is_empty(),
            0xc0..=0xcf if marker != 0xc8 && marker != 0xcc => self.frame(marker, segment)?,
            0xf7 => return Err(format!("JPEG-LS is not read; {CONVERT}")),
            0xda => self.scan(segment)?,
            0xe0 => self.jfif |= segment.starts_with(b"JFIF\0"),
            0xe1 => {
                if let Some(block) = segment.strip_prefix(b"Exif\0\0") {
                    self.exif.get_or_insert_default().extend(block);
                } else if let Some(packet) = segment.strip_prefix(b"http://ns.adobe.com/xap/1.0/\0") {
                    self.xmp = Some(packet);
                }
            }
            0xee if segment.starts_with(b"Adobe") => self.adobe = segment.get(11).copied().or(self.adobe),
            _ => {}
        }
        Ok(())
    }

    /// A start-of-frame segment.
    fn frame(&mut self, marker: u8, segment: &[u8]) -> Result<(), String> {
        let damaged = || "damaged JPEG: its frame header is not whole; copy it again".to_owned();
        if !self.components.is_empty() {
            return Err("damaged JPEG: it has two frame headers; copy it again".to_owned());
        }
        let (&[precision, h0, h1, w0, w1, count], components) = segment.split_first_chunk().ok_or_else(damaged)?;
        let (components, rest) = components.as_chunks();
        if components.len() != usize::from(count) || !rest.is_empty() {
            return Err(damaged());
        }
        self.process = marker & 15;
        self.precision = precision;
        self.height = u16::from_be_bytes([h0, h1]);
        self.width = u16::from_be_bytes([w0, w1]);
        let component = |&[name, sampling, _]: &[u8; 3]| Component {
            name,
            sampling: [sampling >> 4, sampling & 15],
        };
        self.components = components.iter().map(component).collect();
        if self
            .components
            .iter()
            .flat_map(|c| c.sampling)
            .any(|factor| !(1..=4).contains(&factor))
        {
            return Err(damaged());
        }
        Ok(())
    }

    /// A start-of-scan segment.
    fn scan(&mut self, segment: &[u8]) -> Result<(), String> {
        let damaged = || "damaged JPEG: a scan names a component that is not there; copy it again".to_owned();
        let (&count, rest) = segment.split_first().ok_or_else(damaged)?;
        let (named, _) = rest.as_chunks::<2>();
        let index = |&[name, _]: &[u8; 2]| self.components.iter().position(|component| component.name == name);
        let scan: Option<Vec<usize>> = named.iter().take(count.into()).map(index).collect();
        let scan = scan.filter(|scan| !scan.is_empty()).ok_or_else(damaged)?;
        self.scans.push(scan);
        Ok(())
    }

    /// Refuses by name what the decoder does not read, or reads wrongly.
    pub fn check(&self) -> Result<(), String> {
        let refuse = |what: &str| Err(format!("{what} is not read; {CONVERT}"));
        match self.process {
            0..=2 => {}
            3 => return refuse("a lossless JPEG"),
            9 | 10 => return refuse("a JPEG with arithmetic coding"),
            _ => return refuse("a hierarchical JPEG"),
        }
        if self.precision != 8 {
            return refuse(&format!("a JPEG of {} bits a sample", self.precision));
        }
        if ![1, 3, 4].contains(&self.components.len()) {
            return refuse(&format!("a JPEG of {} components", self.components.len()));
        }
        if self.process == 2 && !self.has_tables {
            return Err("damaged JPEG: a progressive picture without Huffman tables; copy it again".to_owned());
        }
        self.check_sampling()?;
        let missing = (0..self.components.len()).any(|i| !self.scans.iter().any(|scan| scan.contains(&i)));
        if missing {
            return Err(CUT.to_owned());
        }
        Ok(())
    }

    fn check_sampling(&self) -> Result<(), String> {
        for axis in [0, 1] {
            let factor = |i: usize| self.components[i].sampling[axis];
            let most = (0..self.components.len()).map(factor).max().unwrap_or(1);
            if (0..self.components.len()).any(|i| !most.is_multiple_of(factor(i))) {
                return Err(format!(
                    "a JPEG whose colours are sampled at a fraction is not read; {CONVERT}"
                ));
            }
            // In a scan of its own a component has the blocks it needs, and the decoder counts those of whole units.
            let alone = self
                .scans
                .iter()
                .filter(|scan| scan.len() == 1)
                .map(|scan| factor(scan[0]));
            if alone.into_iter().any(|factor| factor > 1 && factor < most) {
                return Err(format!(
                    "a JPEG of this sampling, in several scans, is not read; {CONVERT}"
                ));
            }
        }
        Ok(())
    }
}

/// The next marker at or behind `at`, and where it begins. Data of a scan and bytes that are out of place are skipped.
fn next_marker(bytes: &[u8], at: usize) -> Option<(usize, u8)> {
    let mut pairs = bytes.get(at..)?.windows(2);
    let found = pairs.position(|pair| pair[0] == 0xff && pair[1] != 0 && pair[1] != 0xff)?;
    Some((at + found, bytes[at + found + 1]))
}
