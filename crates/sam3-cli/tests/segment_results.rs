//! What `sam3 segment` writes, and what it never replaces.

mod support;

use std::{
    fs,
    path::{Path, PathBuf},
};

use serde_json::Value;
use support::{Folder, check, sam3, text, trained};

/// Copies the scene to each of these names in the folder, and returns the paths.
fn scenes(folder: &Folder, names: &[&str]) -> Vec<PathBuf> {
    let copy = |name: &&str| {
        let path = folder.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::copy(&trained().scene, &path).unwrap();
        path
    };
    names.iter().map(copy).collect()
}

/// `sam3 segment --prompt boat`, with the results in `output`.
fn arguments<'a>(images: &'a [PathBuf], output: &'a Path, flags: &[&'a str]) -> Vec<&'a str> {
    let mut arguments = vec![
        "segment",
        "--checkpoint-path",
        text(&trained().checkpoint),
        "--prompt",
        "boat",
    ];
    arguments.push("--image");
    arguments.extend(images.iter().map(|image| text(image)));
    arguments.extend(["--output", text(output)]);
    arguments.extend(flags);
    arguments
}

fn names(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).unwrap();
    let mut names: Vec<String> = entries.map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

fn json(path: &Path) -> Value {
    serde_json::from_slice(&fs::read(path).unwrap()).unwrap()
}

#[test]
fn what_sam3_did_not_write_stays_without_force() {
    let folder = Folder::new();
    let images = scenes(&folder, &["pictures/street.png"]);
    let pictures = images[0].parent().unwrap();
    let label = pictures.join("street.json");
    fs::write(&label, "{\"shapes\": []}").unwrap();
    let says = ["street.json exists already", "sam3 did not write it", "--force"];
    check(&arguments(&images, pictures, &[]), 2, &says);
    assert_eq!(
        names(pictures),
        ["street.json", "street.png"],
        "refused before any work"
    );
    assert_eq!(fs::read(&label).unwrap(), b"{\"shapes\": []}");

    check(&arguments(&images, pictures, &["--force"]), 0, &["wrote"]);
    assert_eq!(json(&label)["prompts"][0]["instances"].as_array().unwrap().len(), 3);
    // Now all of it is sam3's own.
    check(&arguments(&images, pictures, &[]), 0, &["wrote"]);

    let overlay = pictures.join("street_overlay.png");
    fs::copy(&trained().scene, &overlay).unwrap();
    check(
        &arguments(&images, pictures, &[]),
        2,
        &["street_overlay.png exists already"],
    );
    // What a power cut leaves of a file has nothing to lose.
    fs::write(&overlay, "").unwrap();
    check(&arguments(&images, pictures, &[]), 0, &["wrote"]);
}

#[test]
fn an_input_of_the_run_is_never_replaced() {
    let folder = Folder::new();
    let images = scenes(&folder, &["pictures/street.png", "pictures/street_overlay.png"]);
    let pictures = images[0].parent().unwrap();
    let before = fs::read(&images[1]).unwrap();
    for flags in [&[][..], &["--force"]] {
        let says = ["street_overlay.png: this run reads it", "--output"];
        check(&arguments(&images, pictures, flags), 2, &says);
        assert_eq!(names(pictures), ["street.png", "street_overlay.png"]);
        assert_eq!(fs::read(&images[1]).unwrap(), before);
    }
    // Not under another spelling either.
    let spelt = [images[0].clone(), pictures.join("../pictures/street_overlay.png")];
    check(&arguments(&spelt, pictures, &["--force"]), 2, &["this run reads it"]);

    let copy = folder.path("model.safetensors");
    fs::copy(&trained().checkpoint, &copy).unwrap();
    fs::copy(
        trained().checkpoint.with_file_name("config.json"),
        folder.path("config.json"),
    )
    .unwrap();
    let out = folder.path("out");
    let dump = |target: &Path, flags: &[&str], code, says: &[&str]| {
        let mut all = arguments(&images[..1], &out, &["--dump-tensors", text(target)]);
        all[2] = text(&copy);
        check(&[&all[..], flags].concat(), code, says);
    };
    dump(&copy, &["--force"], 2, &["model.safetensors: this run reads it"]);
    let config = folder.path("config.json");
    dump(&config, &["--force"], 2, &["config.json: this run reads it"]);
    // A folder stands for the checkpoint in it.
    let mut by_folder = arguments(&images[..1], &out, &["--force", "--dump-tensors", text(&copy)]);
    let model = folder.path("");
    by_folder[2] = text(&model);
    check(&by_folder, 2, &["model.safetensors: this run reads it"]);
    dump(
        &out.join("street.json"),
        &[],
        2,
        &["a result of this run has that name"],
    );
    for masks in [&[][..], &["--masks"]] {
        let inside = out.join("street_masks/raw.safetensors");
        dump(&inside, masks, 2, &["a result of this run has that name"]);
    }
    dump(&out, &[], 2, &["it is the folder of --output"]);
    dump(
        &folder.path("none/raw.safetensors"),
        &[],
        3,
        &["none/raw.safetensors", "hint:"],
    );
    assert!(!out.exists(), "all of it is known before the work");
    let other = folder.path("other.safetensors");
    fs::copy(&copy, &other).unwrap();
    dump(&other, &[], 2, &["other.safetensors: it exists already"]);
    dump(&folder.path("raw.safetensors"), &[], 0, &[]);
    dump(&folder.path("raw.safetensors"), &[], 0, &[]);
}

#[test]
fn pictures_of_one_name_keep_their_results_apart() {
    let folder = Folder::new();
    let images = scenes(&folder, &["x/a.png", "y/a.png", "z/a_2.png", "z/A.png"]);
    let out = folder.path("out");
    check(&arguments(&images, &out, &[]), 0, &[]);
    assert_eq!(
        names(&out),
        [
            "A_4.json",
            "A_4_overlay.png",
            "a.json",
            "a_2.json",
            "a_2_overlay.png",
            "a_3.json",
            "a_3_overlay.png",
            "a_overlay.png"
        ]
    );
    for (stem, image) in [("a", 0), ("a_3", 1), ("a_2", 2), ("A_4", 3)] {
        let record = json(&out.join(format!("{stem}.json")));
        assert_eq!(record["image"]["file"], text(&images[image]), "{stem}");
    }
}

#[test]
fn results_of_an_earlier_run_do_not_stay_beside_new_ones() {
    let folder = Folder::new();
    let images = scenes(&folder, &["scene.png"]);
    let out = folder.path("out");
    check(&arguments(&images, &out, &["--masks", "--id-map"]), 0, &[]);
    let masks = out.join("scene_masks");
    assert_eq!(names(&masks), ["boat_001.png", "boat_002.png", "boat_003.png"]);
    fs::copy(&trained().scene, masks.join("mine.png")).unwrap();
    fs::copy(&trained().scene, masks.join("square_001.png")).unwrap();

    let mut squares = arguments(&images, &out, &["--masks"]);
    squares[4] = "square";
    check(&squares, 2, &["square_001.png exists already"]);
    fs::remove_file(masks.join("square_001.png")).unwrap();
    check(&squares, 0, &[]);
    assert_eq!(names(&masks), ["mine.png", "square_001.png", "square_002.png"]);
    assert_eq!(
        names(&out),
        ["scene.json", "scene_masks", "scene_overlay.png"],
        "the ids are gone"
    );

    check(&arguments(&images, &out, &[]), 0, &[]);
    assert_eq!(names(&masks), ["mine.png"], "what sam3 did not write stays");
    fs::remove_file(masks.join("mine.png")).unwrap();
    check(&arguments(&images, &out, &[]), 0, &[]);
    assert!(!masks.exists());
}

#[test]
fn a_name_that_cannot_be_written_fails_alone_and_before_the_work() {
    let folder = Folder::new();
    let long = format!("{}.png", "n".repeat(245));
    let images = scenes(&folder, &[&long, "scene.png", "in_the_way.png"]);
    let out = folder.path("out");
    fs::create_dir_all(out.join("in_the_way.json")).unwrap();
    let says = ["nnn.png: not segmented", "in_the_way.json", "\"boat\": 3 instances"];
    let said = check(&arguments(&images, &out, &[]), 1, &says);
    assert!(said.find("not segmented") < said.find("loaded "), "{said}");
    assert_eq!(names(&out), ["in_the_way.json", "scene.json", "scene_overlay.png"]);
    check(&arguments(&images[..1], &out, &[]), 1, &["not segmented", "hint:"]);
    // Below a folder that takes no results, the others still get theirs.
    let nested = scenes(&folder, &["in/a.png", "in/file/b.png", "in/c.png"]);
    let (input, out) = ([nested[0].parent().unwrap().to_owned()], folder.path("nested"));
    fs::create_dir(&out).unwrap();
    fs::write(out.join("file"), "").unwrap();
    check(&arguments(&input, &out, &["--recursive"]), 3, &["b.png: not segmented"]);
    assert_eq!(
        names(&out),
        ["a.json", "a_overlay.png", "c.json", "c_overlay.png", "file"]
    );
    // A name that the file system takes is no reason to fail, however long.
    let longest = scenes(&folder, &[&format!("{}.png", "m".repeat(243))]);
    check(&arguments(&longest, &out, &[]), 0, &[]);
}

#[test]
fn ids_run_over_all_prompts_in_the_order_of_the_json() {
    let folder = Folder::new();
    let images = scenes(&folder, &["scene.png"]);
    let out = folder.path("out");
    let mut both = arguments(&images, &out, &["--id-map", "--masks"]);
    both[4] = "boat, square";
    check(&both, 0, &[]);
    let record = json(&out.join("scene.json"));
    let ids = record["prompts"].as_array().unwrap().iter().flat_map(|prompt| {
        let instances = prompt["instances"].as_array().unwrap();
        instances.iter().map(|instance| instance["id"].as_u64().unwrap())
    });
    assert_eq!(ids.collect::<Vec<_>>(), [1, 2, 3, 4, 5]);
    let png = fs::read(out.join("scene_ids.png")).unwrap();
    assert_eq!(png[24..26], [16, 0], "16 bits, grey");
    assert_eq!(names(&out.join("scene_masks"))[3], "2_square_001.png");
}

#[test]
fn a_folder_half_done_is_resumed() {
    let folder = Folder::new();
    let images = scenes(&folder, &["in/a.png", "in/b.png", "in/c.png"]);
    let out = folder.path("out");
    check(&arguments(&images[..2], &out, &[]), 0, &[]);
    let input = [folder.path("in")];
    // Which were segmented: all are on stdout as JSON, those that were skipped first.
    let run = |flags: &[&str]| {
        let all = arguments(&input, &out, &[&["--skip-existing", "--json"], flags].concat());
        let output = sam3(&all);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "{said}");
        let stems = String::from_utf8(output.stdout)
            .unwrap()
            .lines()
            .map(|line| {
                let record: Value = serde_json::from_str(line).unwrap();
                let file = Path::new(record["image"]["file"].as_str().unwrap());
                file.file_stem().unwrap().to_str().unwrap().to_owned()
            })
            .collect::<Vec<_>>();
        assert_eq!(stems.len(), 3, "{said}");
        let skipped = said.split("skipped ").nth(1).unwrap().split(' ').next().unwrap();
        stems[skipped.parse().unwrap()..].concat()
    };
    assert_eq!(run(&[]), "c");
    assert_eq!(run(&[]), "");
    assert_eq!(run(&["--masks"]), "abc", "masks were not there");
    assert_eq!(run(&["--masks"]), "");
    assert_eq!(run(&["--threshold", "0.6"]), "abc");
    let overlay = fs::read(out.join("b_overlay.png")).unwrap();
    fs::write(out.join("b_overlay.png"), &overlay[..overlay.len() / 2]).unwrap();
    let json = fs::read(out.join("c.json")).unwrap();
    fs::write(out.join("c.json"), &json[..json.len() / 2]).unwrap();
    assert_eq!(run(&["--threshold", "0.6"]), "bc");
    // Another picture of that name.
    fs::write(
        folder.path("in/a.png"),
        [&fs::read(&images[1]).unwrap()[..], b"\n"].concat(),
    )
    .unwrap();
    assert_eq!(run(&["--threshold", "0.6"]), "a");
    assert_eq!(run(&["--threshold", "0.6", "--prompt", "square"]), "abc");
    assert_eq!(run(&["--threshold", "0.6", "--prompt", "square", "--polygons"]), "abc");
    assert_eq!(run(&["--threshold", "0.6", "--prompt", "square"]), "");
    let package = trained().scene.with_file_name("device").join("sam3_demo_fp16.pth");
    let mut other = arguments(&input, &out, &["--skip-existing", "--threshold", "0.6"]);
    (other[2], other[4]) = (text(&package), "square");
    check(&other, 0, &["skipped 0 of 3"]);
}
