package dirblob

import "time"

// Bounds of the driver.
const (
	// DefaultReserveBytes of the file system are left free, but at most a tenth
	// of its size, so that blobs do not stop the database and the logs beside
	// them.
	DefaultReserveBytes = 64 << 20
	// DefaultMaxBytes is how large a blob may become: 195 GiB, what the Blob
	// service took in blocks of 4 MiB.
	DefaultMaxBytes = 195 << 30

	pieceBytes    = 64      // of a name, in one file name
	maxTail       = 8 << 20 // of blocks or attributes in a file
	copyBytes     = 128 << 10
	reserveEvery  = 16 << 20 // bytes written between two looks at the free space
	dirBatch      = 1024     // entries of a directory read at once
	renameRetries = 16       // a directory may go away while a blob moves in

	// SweepEvery is how often blocks are looked for that nobody has committed.
	SweepEvery = time.Hour
)
