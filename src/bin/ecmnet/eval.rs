//! `ecmnet eval`: masks scored against ground truth.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use clap::Args;
use ecmnet_ros::bag::{Bag, BagWriter, Damage, Qos, TopicId};
use ecmnet_ros::eval::{
    BagFrames, BagSources, EvalError, Frame, LabelImage, LatencySample, ListFrames, Report,
    ReportFrame, ReportPicture, RunFacts, Score, Selection, Step, Summary, latencies_from_csv,
    table_from_summary,
};
use ecmnet_ros::labels::ClassTable;
use ecmnet_ros::msg::Image;
use ecmnet_ros::network::Weights;
use ecmnet_ros::segmenter::{NetworkSize, Segmenter};

use crate::network::NetworkArguments;
use crate::output::{print, write_whole};
use crate::progress;

/// Frames that the report shows, besides the one that scores worst.
const REPORT_FRAMES: usize = 6;
/// Topic of the masks in the bag that `--out-bag` writes.
const MASK_TOPIC: &str = "/ecmnet/label_mask";

#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// rosbag2 folder, or one .mcap or .db3 file
    #[arg(required_unless_present = "list", conflicts_with = "list")]
    bag: Option<PathBuf>,
    /// Topic of the images
    #[arg(long, value_name = "TOPIC", required_unless_present = "list")]
    image_topic: Option<String>,
    /// Topic of the labels: mono8 images of class ids, or PNG files of them
    #[arg(long, value_name = "TOPIC", required_unless_present_any = ["list", "masks", "out_bag"])]
    labels_topic: Option<String>,
    /// Match a label to the nearest image within this many milliseconds, not by equal stamps
    #[arg(long, value_name = "M", value_parser = not_negative, requires = "labels_topic")]
    tolerance_ms: Option<f64>,
    /// Use images from this many seconds after the first on
    #[arg(long, value_name = "S", value_parser = not_negative, conflicts_with = "list")]
    from: Option<f64>,
    /// Use images up to this many seconds after the first
    #[arg(long, value_name = "S", value_parser = not_negative, conflicts_with = "list")]
    to: Option<f64>,
    /// Use every Nth of the frames that have all their parts
    #[arg(long, value_name = "N", default_value = "1", value_parser = clap::value_parser!(u32).range(1..))]
    every: u32,
    /// File of lines `image label` to score instead of a bag
    #[arg(long, value_name = "FILE", requires = "root")]
    list: Option<PathBuf>,
    /// Folder that the list's names are relative to
    #[arg(long, value_name = "DIR", requires = "list")]
    root: Option<PathBuf>,
    /// Score the masks in this bag, which a node has published, and run no network
    #[arg(long, value_name = "BAG", conflicts_with_all = ["list", "out_bag"])]
    masks: Option<PathBuf>,
    /// Topic of those masks
    #[arg(
        long,
        value_name = "TOPIC",
        default_value = "/label_mask",
        requires = "masks"
    )]
    masks_topic: String,
    /// Latencies of those masks: lines `stamp_ns,latency_ms` behind that header
    #[arg(long, value_name = "FILE", requires = "masks")]
    latency: Option<PathBuf>,
    /// Write the masks, with the stamps of their images, to this new bag
    #[arg(long, value_name = "BAG", conflicts_with = "list")]
    out_bag: Option<PathBuf>,
    /// Write the scores to this file
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Write a page with scores, plots and pictures to this file; it needs no other file
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
    /// Heading of the page
    #[arg(long, value_name = "TEXT")]
    title: Option<String>,
    /// A line below the heading; may be given more than once
    #[arg(long, value_name = "TEXT")]
    note: Vec<String>,
    /// A PNG or JPEG to show on the page, under a heading; may be given more than once
    #[arg(long, value_name = "HEADING=FILE", value_parser = picture, requires = "html")]
    picture: Vec<ReportPicture>,
    #[command(flatten)]
    network: NetworkArguments,
}

/// Scores all frames, then prints the table and writes what was asked for; errs after that where
/// a part of the bag could not be read.
pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    match (&arguments.list, &arguments.bag) {
        (Some(list), _) => {
            let root = arguments.root.as_deref().unwrap_or(Path::new(""));
            let frames = ListFrames::new(list, root, arguments.every as usize)?;
            let planned = frames.planned();
            score_frames(arguments, frames, planned)?.finish(arguments, 0, &[])
        }
        (None, Some(bag)) => score_bag(arguments, bag),
        (None, None) => bail!("a bag or --list is needed"),
    }
}

fn score_bag(arguments: &Arguments, bag: &Path) -> Result<()> {
    let Some(image_topic) = arguments.image_topic.as_deref() else {
        bail!("--image-topic is needed");
    };
    let bag = Bag::open(bag)?;
    let masks = arguments.masks.as_deref().map(Bag::open).transpose()?;
    let sources = BagSources {
        bag: &bag,
        image_topic,
        labels_topic: arguments.labels_topic.as_deref(),
        masks: masks
            .as_ref()
            .map(|masks| (masks, arguments.masks_topic.as_str())),
    };
    let selection = Selection {
        tolerance_ms: arguments.tolerance_ms,
        from_s: arguments.from.unwrap_or(0.0),
        to_s: arguments.to.unwrap_or(f64::INFINITY),
        every: arguments.every as usize,
    };
    let spinner = progress::spinner("reading stamps");
    let frames = BagFrames::new(&sources, &selection)?;
    spinner.finish_and_clear();
    let (unmatched, damage) = (frames.unmatched_labels(), frames.damage().to_vec());
    let planned = frames.planned();
    score_frames(arguments, frames, planned)?.finish(arguments, unmatched, &damage)
}

fn score_frames(
    arguments: &Arguments,
    frames: impl Iterator<Item = Result<Step, EvalError>>,
    planned: usize,
) -> Result<Evaluation> {
    let mut evaluation = Evaluation::new(arguments, planned)?;
    let bar = progress::bar(planned, "scoring");
    for step in frames {
        match step? {
            Step::Frame(frame) => {
                evaluation.add(&frame)?;
                bar.inc(1);
            }
            skipped => evaluation.score.skip_step(&skipped),
        }
    }
    bar.finish_and_clear();
    Ok(evaluation)
}

/// Where masks come from.
enum Masks {
    Network(Box<Segmenter>),
    /// Recorded ones; the weights file of this hash says what their ids mean.
    Recorded {
        weights_sha256: String,
    },
}

/// An evaluation under way.
struct Evaluation {
    masks: Masks,
    classes: ClassTable,
    score: Score,
    /// Network sizes of the frames so far.
    network_size: Option<[usize; 2]>,
    one_network_size: bool,
    out_bag: Option<(BagWriter, TopicId)>,
    pictures: Pictures,
}

impl Evaluation {
    fn new(arguments: &Arguments, planned: usize) -> Result<Self> {
        let (masks, classes) = if arguments.masks.is_some() {
            let weights = Weights::load(&arguments.network.weights()?)?;
            let classes = weights.metadata().class_table();
            let weights_sha256 = weights.sha256().to_owned();
            (Masks::Recorded { weights_sha256 }, classes)
        } else {
            let segmenter = arguments.network.segmenter(NetworkSize::Train)?;
            let classes = segmenter.classes().clone();
            (Masks::Network(Box::new(segmenter)), classes)
        };
        let out_bag = arguments.out_bag.as_deref().map(new_mask_bag).transpose()?;
        let every = arguments
            .html
            .as_ref()
            .map(|_| planned.div_ceil(REPORT_FRAMES).max(1));
        Ok(Self {
            masks,
            score: Score::new(&classes),
            classes,
            network_size: None,
            one_network_size: true,
            out_bag,
            pictures: Pictures::new(every),
        })
    }

    fn add(&mut self, frame: &Frame) -> Result<()> {
        let mask = self.mask_of(frame)?;
        let own = self.score.add(&frame.name, frame.truth.as_ref(), &mask)?;
        if let Some((bag, topic)) = &mut self.out_bag {
            write_mask(bag, *topic, frame, &mask)?;
        }
        self.pictures.offer(frame, &mask, own.miou(), &self.classes)
    }

    fn mask_of(&mut self, frame: &Frame) -> Result<LabelImage> {
        let view = frame.picture.view()?;
        match &self.masks {
            Masks::Recorded { .. } => {
                let mask = frame.recorded.clone();
                let mask = mask.with_context(|| format!("frame {} has no mask", frame.name))?;
                if [mask.width, mask.height] != [view.width(), view.height()] {
                    bail!(
                        "frame {}: the mask is {}x{}, but the image is {}x{}",
                        frame.name,
                        mask.width,
                        mask.height,
                        view.width(),
                        view.height()
                    );
                }
                Ok(mask)
            }
            Masks::Network(segmenter) => {
                let size = segmenter.network_size_for(view.height(), view.width());
                self.one_network_size &= self.network_size.is_none_or(|first| first == size);
                self.network_size = Some(size);
                let segmentation = segmenter.run(&view, false)?;
                self.score.latencies.push(LatencySample {
                    stamp_ns: match frame.header.stamp.as_ns() {
                        // Files have no stamps: a second for each.
                        0 => self.score.frames as i64 * 1_000_000_000,
                        ns => ns,
                    },
                    latency_ms: segmentation.times.total().as_secs_f64() * 1e3,
                });
                let mask = segmentation.mask;
                Ok(LabelImage {
                    width: mask.width,
                    height: mask.height,
                    ids: mask.ids,
                })
            }
        }
    }

    /// Prints and writes the result.
    fn finish(mut self, arguments: &Arguments, unmatched: u64, damage: &[Damage]) -> Result<()> {
        if let Some((bag, _)) = self.out_bag.take() {
            bag.finish()?;
        }
        self.score.skip("label_without_image", unmatched);
        self.score.skip("damaged_bag", damage.len() as u64);
        if self.score.frames == 0 {
            let reasons: Vec<&str> = self.score.skipped.keys().copied().collect();
            bail!("not one frame could be segmented ({})", reasons.join(", "));
        }
        if let Some(path) = &arguments.latency {
            self.score.latencies = latencies_from_csv(path)?;
        }
        let summary = Summary::new(&self.score, &self.classes, &self.run_facts());
        print(&table_from_summary(&summary, &self.score.confusion))?;
        if let Some(path) = &arguments.json {
            write_whole(path, summary.to_json().as_bytes())?;
        }
        if let Some(path) = &arguments.html {
            let source = arguments.bag.as_ref().or(arguments.list.as_ref());
            let source = source.and_then(|path| path.file_name()).unwrap_or_default();
            let title = format!("Evaluation of {}", source.to_string_lossy());
            let report = Report {
                title: arguments.title.as_ref().unwrap_or(&title),
                notes: &arguments.note,
                summary: &summary,
                confusion: &self.score.confusion,
                classes: &self.classes,
                latencies: &self.score.latencies,
                pictures: &arguments.picture,
                frames: &self.pictures.into_frames(),
            };
            write_whole(path, report.to_html().as_bytes())?;
        }
        for one in damage {
            eprintln!("warning: {one}");
        }
        if !damage.is_empty() {
            let places = damage.len();
            bail!("the bag is damaged in {places} places; the scores are of what could be read");
        }
        Ok(())
    }

    fn run_facts(&self) -> RunFacts {
        match &self.masks {
            Masks::Recorded { weights_sha256 } => RunFacts {
                weights_sha256: weights_sha256.clone(),
                ..RunFacts::default()
            },
            Masks::Network(segmenter) => RunFacts {
                device: Some(segmenter.device_name()),
                dtype: Some(segmenter.dtype().to_owned()),
                network_size: self.network_size.filter(|_| self.one_network_size),
                weights_sha256: segmenter.weights_sha256().to_owned(),
            },
        }
    }
}

fn new_mask_bag(folder: &Path) -> Result<(BagWriter, TopicId)> {
    let mut bag = BagWriter::create(folder)?;
    let topic = bag.add_topic::<Image<'_>>(MASK_TOPIC, Qos::DEFAULT)?;
    Ok((bag, topic))
}

fn write_mask(bag: &mut BagWriter, topic: TopicId, frame: &Frame, mask: &LabelImage) -> Result<()> {
    let message = Image {
        header: frame.header.clone(),
        height: mask.height as u32,
        width: mask.width as u32,
        encoding: "mono8",
        is_bigendian: 0,
        step: mask.width as u32,
        data: &mask.ids,
    };
    Ok(bag.write(topic, frame.header.stamp.as_ns(), &message)?)
}

/// The frames that the report will show: some at even distances, and the worst of the others.
struct Pictures {
    /// `None` where no report is wanted.
    every: Option<usize>,
    met: usize,
    even: Vec<(usize, ReportFrame)>,
    worst: Option<(f64, usize, ReportFrame)>,
}

impl Pictures {
    fn new(every: Option<usize>) -> Self {
        Self {
            every,
            met: 0,
            even: Vec::new(),
            worst: None,
        }
    }

    fn offer(
        &mut self,
        frame: &Frame,
        mask: &LabelImage,
        miou: Option<f64>,
        classes: &ClassTable,
    ) -> Result<()> {
        let Some(every) = self.every else {
            return Ok(());
        };
        let place = self.met;
        self.met += 1;
        let is_worse = |miou: &f64| self.worst.as_ref().is_none_or(|(worst, ..)| miou < worst);
        if place % every == every / 2 {
            self.even
                .push((place, ReportFrame::new(frame, mask, miou, classes)?));
        } else if let Some(miou) = miou.filter(is_worse) {
            self.worst = Some((
                miou,
                place,
                ReportFrame::new(frame, mask, Some(miou), classes)?,
            ));
        }
        Ok(())
    }

    fn into_frames(self) -> Vec<ReportFrame> {
        let mut frames = self.even;
        frames.extend(self.worst.map(|(_, place, frame)| (place, frame)));
        frames.sort_by_key(|(place, _)| *place);
        frames.into_iter().map(|(_, frame)| frame).collect()
    }
}

fn picture(text: &str) -> Result<ReportPicture, String> {
    let (heading, file) = text.split_once('=').ok_or("HEADING=FILE is needed")?;
    let bytes = fs::read(file).map_err(|error| format!("{file}: {error}"))?;
    ReportPicture::new(heading, &bytes).ok_or_else(|| format!("{file} is neither PNG nor JPEG"))
}

fn not_negative(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(number) if number >= 0.0 => Ok(number),
        _ => Err("a number of at least 0 is needed".to_owned()),
    }
}
