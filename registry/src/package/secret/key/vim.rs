//! What a swap file of vim holds. Each of its pages has some lines of the text, the last one first.

/// What such a file begins with.
const MAGIC: &[u8] = b"b0VIM ";
/// Where the size of a page stands, and how large one may be, in bytes.
const PAGE_SIZE_AT: usize = 12;
const PAGE_BYTES: std::ops::RangeInclusive<usize> = 512..=65_536;

/// What a page with lines begins with, and where it says at which place in it they begin.
const LINES: &[u8] = b"ad";
const LINES_BEGIN_AT: usize = 8;

/// The lines of the text, in their order on each page; a long text has its pages in another order now and then.
pub(super) fn lines(content: &[u8]) -> Option<Vec<u8>> {
    let rest = content.starts_with(MAGIC).then(|| content.get(PAGE_SIZE_AT..)).flatten()?;
    let page = number(rest)?;
    let pages = content.chunks(if PAGE_BYTES.contains(&page) { page } else { *PAGE_BYTES.end() });
    let lines_of = |page| {
        let begin = |page: &[u8]| page.starts_with(LINES).then(|| number(page.get(LINES_BEGIN_AT..)?)).flatten();
        begin(page).and_then(|begin| page.get(begin..)).unwrap_or(page)
    };
    let lines = pages.map(lines_of).flat_map(|page| page.rsplit(|byte| *byte == 0)).filter(|line| !line.is_empty());
    Some(lines.collect::<Vec<_>>().join(&b'\n'))
}

fn number(bytes: &[u8]) -> Option<usize> {
    usize::try_from(u32::from_le_bytes(*bytes.first_chunk()?)).ok()
}
