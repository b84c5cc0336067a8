//! Sparse files of GNU tar.

use super::*;

/// A header of a sparse file in the old form, with these parts of `size` bytes, and the content after it.
fn old_sparse(path: &str, parts: &[(u64, u64)], size: u64, content: &[u8]) -> Vec<u8> {
    let mut header = tar::Header::new_gnu();
    header.set_path(path).unwrap();
    header.set_entry_type(tar::EntryType::GNUSparse);
    header.set_mode(0o644);
    header.set_size(content.len() as u64);
    let gnu = header.as_gnu_mut().unwrap();
    for (field, (offset, bytes)) in gnu.sparse.iter_mut().zip(parts) {
        field.set_offset(*offset);
        field.set_length(*bytes);
    }
    gnu.set_is_extended(parts.len() > 4);
    gnu.set_real_size(size);
    header.set_cksum();
    let mut archive = header.as_bytes().to_vec();
    let mut blocks = parts.get(4..).unwrap_or_default().chunks(21).peekable();
    while let Some(parts) = blocks.next() {
        let mut block = tar::GnuExtSparseHeader::new();
        for (field, (offset, bytes)) in block.sparse.iter_mut().zip(parts) {
            field.set_offset(*offset);
            field.set_length(*bytes);
        }
        block.set_is_extended(blocks.peek().is_some());
        archive.extend(block.as_bytes());
    }
    archive.extend(content);
    archive.resize(archive.len().next_multiple_of(512), 0);
    archive
}

#[test]
fn holes_of_a_sparse_file_are_zeros() {
    for count in [0, 1, 4, 5, 25, 26, 70] {
        let parts: Vec<_> = (0..count).map(|index| (index * 1000 + 300, 600)).collect();
        let (size, data) = (100_000 + 7, vec![9; count as usize * 600]);
        let mut expected = vec![0; size as usize];
        parts.iter().for_each(|(offset, bytes)| expected[*offset as usize..][..*bytes as usize].fill(9));
        let archive = [old_sparse("a", &parts, size, &data), tar_of(&[("b", FILE, "", "after")])].concat();
        let store = MemoryBlockstore::new();
        let imported = import(&store, &archive).unwrap_or_else(|error| panic!("{count}: {error}"));
        assert_eq!(contents(&store, &imported), items([("a", Item::File(expected)), ("b", file("after"))]), "{count}");
        let listing = list_tarball(&mut &archive[..], ArchiveLimits::default()).unwrap();
        assert_eq!(listing.entries, imported.entries, "{count}");
    }
}

#[test]
fn a_sparse_file_with_a_false_map_is_refused() {
    let ten = [9; 10];
    for (parts, size) in [
        (&[(0, 11)][..], 100),
        (&[(0, 9)], 100),
        (&[(95, 10)], 100),
        (&[(50, 5), (40, 5)], 100),
        (&[(0, 6), (5, 4)], 100),
        (&[(u64::MAX >> 4, 10)], 100),
    ] {
        let error = import(&MemoryBlockstore::new(), &old_sparse("a", parts, size, &ten)).unwrap_err();
        assert!(error.to_string().contains("map of a sparse file"), "{parts:?}: {error}");
    }
    let mut star = old_sparse("a", &[(0, 10)], 100, &ten);
    let header = tar::Header::from_byte_slice(&star[..512]);
    let mut header = header.clone();
    header.as_mut_bytes()[257..265].copy_from_slice(b"ustar\x0000");
    header.set_cksum();
    star[..512].copy_from_slice(header.as_bytes());
    let error = import(&MemoryBlockstore::new(), &star).unwrap_err();
    assert!(error.to_string().contains("another form"), "{error}");
}

/// A terabyte of holes takes a header.
#[test]
fn holes_count_against_the_limits_of_an_archive() {
    for packed in [false, true] {
        for size in [1 << 40, 100 << 20] {
            let plain = old_sparse("a", &[(0, 10)], size, &[9; 10]);
            let archive = if packed { gzip(&plain) } else { plain };
            for error in [
                import(&MemoryBlockstore::new(), &archive).unwrap_err(),
                list_tarball(&mut &archive[..], ArchiveLimits::default()).unwrap_err(),
            ] {
                assert!(error.to_string().contains("unpacks to more than"), "{error}");
            }
        }
        assert!(import(&MemoryBlockstore::new(), &old_sparse("a", &[(0, 10)], 10 << 20, &[9; 10])).is_ok());
    }
}
