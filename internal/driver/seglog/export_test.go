package seglog

// What the tests need to see of the inside.

type (
	FS   = fsys
	File = file
)

// OpenFS opens a log in a directory that the test provides.
func OpenFS(dir FS, o Options) (*Log, error) { return open(dir, o) }

// OpenDir is the directory that Open uses.
func OpenDir(dir string) (FS, error) { return openDir(dir) }

// HeaderBytes is where the frames of a segment begin.
func HeaderBytes(partitions int) int64 { return headerBytes(partitions) }

// FrameHeader is the size of a frame without its payload.
const FrameHeader = frameHeader

// SegmentName returns the file name of segment id.
func SegmentName(id uint64) string { return segmentName(id) }
