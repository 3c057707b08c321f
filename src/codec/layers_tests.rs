//! Grids of layers, from descriptors of real streams and from layer ids.

use super::*;
use crate::codec::dependency_descriptor::Reader;
use crate::codec::fixture_tests::packets;
use crate::codec::inspect;

fn cells(mask: u16) -> Vec<(u8, u8)> {
    Cell::each()
        .filter(|c| mask & c.bit() != 0)
        .map(|c| (c.spatial(), c.temporal()))
        .collect()
}

#[test]
fn a_cell_is_named_by_its_layers() {
    let cell = Cell::new(2, 1);
    assert_eq!((cell.spatial(), cell.temporal()), (2, 1));
    assert_eq!(cells(cell.bit()), [(2, 1)]);
    assert_eq!(Cell::new(9, 9), Cell::new(3, 3));
    assert_eq!(Cell::ALL.bit(), 0);
    assert_eq!((Cell::ALL.spatial(), Cell::ALL.temporal()), (3, 3));
}

#[test]
fn a_grid_of_ids_is_nested() {
    let grid = Grid::of_ids(1, 2);
    assert_eq!(
        cells(grid.known),
        [(0, 0), (0, 1), (0, 2), (1, 0), (1, 1), (1, 2)]
    );
    assert_eq!(grid.top(), Cell::new(1, 2));
    assert!(grid.top_is_all());
    assert!(grid.holds(Cell::new(1, 0), Cell::new(0, 0)));
    assert!(!grid.holds(Cell::new(1, 0), Cell::new(0, 1)));
    assert!(grid.holds(Cell::ALL, Cell::new(0, 1)));
    assert!(!Grid::of_ids(0, 0).is_layered());
}

/// What the descriptors of a fixture tell, and what the payload tells.
fn told(name: &str, codec: Codec) -> (Grid, Vec<(FrameLayers, FrameLayers, PacketInfo)>) {
    let mut reader = Reader::default();
    let mut grid = Grid::default();
    let mut all = Vec::new();
    for p in packets(name) {
        let d = reader.read(&p.dependency_descriptor.unwrap()).unwrap();
        let structure = reader.structure().unwrap();
        grid = Grid::of_structure(structure);
        let info = inspect(codec, &p.payload, p.marker);
        all.push((
            FrameLayers::from_descriptor(&d, structure),
            FrameLayers::from_ids(codec, &info),
            info,
        ));
    }
    (grid, all)
}

#[test]
fn full_svc_of_chromium_is_nested_and_both_sources_agree() {
    assert_eq!(told("chromium-av1-l3t3", Codec::Av1).0, Grid::of_ids(2, 2));
    let (grid, all) = told("chromium-vp9-l3t3", Codec::Vp9);
    assert_eq!(grid, Grid::of_ids(2, 2));
    for (descriptor, ids, info) in &all {
        assert_eq!(descriptor.present & grid.known, ids.present & grid.known);
        if info.temporal == 0 && !info.keyframe {
            let row = Cell::row(info.spatial, 0) & grid.known;
            assert_eq!(descriptor.switch & row, row, "{info:?}");
        }
    }
}

#[test]
fn layers_that_are_coded_by_themselves_are_not_nested() {
    let (grid, all) = told("chromium-vp9-l2t2-key", Codec::Vp9);
    assert_eq!(cells(grid.known), [(0, 0), (0, 1), (1, 0), (1, 1)]);
    assert!(!grid.top_is_all());
    assert!(!grid.holds(Cell::new(1, 1), Cell::new(0, 1)));
    assert!(grid.holds(Cell::new(1, 1), Cell::new(1, 0)));
    let lower = all.iter().filter(|(_, _, i)| i.spatial == 0 && !i.keyframe);
    for (frame, ..) in lower {
        assert_eq!(frame.present & Cell::new(1, 1).bit(), 0);
    }
}

#[test]
fn temporal_layers_of_chromium_can_be_taken_at_base_pictures() {
    for (name, codec) in [
        ("chromium-vp8-l1t3-dd", Codec::Vp8),
        ("chromium-av1-l1t3", Codec::Av1),
    ] {
        let (grid, all) = told(name, codec);
        assert_eq!(grid, Grid::of_ids(0, 2), "{name}");
        // Not at every one with VP8: its layers refer back over base pictures.
        let base = all.iter().filter(|(d, ..)| d.present & 1 != 0);
        let open = base.filter(|(d, ..)| d.switch & grid.known == grid.known);
        assert!(open.count() >= 3, "{name}");
    }
}

#[test]
fn vp8_without_descriptor_is_taken_one_layer_at_a_time() {
    let mut seen = [false; 3];
    for p in packets("chromium-vp8-l1t3") {
        let info = inspect(Codec::Vp8, &p.payload, p.marker);
        let frame = FrameLayers::from_ids(Codec::Vp8, &info);
        let own = Cell::new(0, info.temporal).bit();
        assert_ne!(frame.present & own, 0);
        assert!(frame.switch == 0 || frame.switch == own);
        assert_eq!(frame.begins_layer, frame.switch != 0);
        seen[usize::from(info.temporal)] |= info.temporal == 0 || frame.begins_layer;
    }
    assert_eq!(seen, [true; 3], "each layer begins somewhere");
}
