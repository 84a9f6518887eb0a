package blob

import "time"

// Limits of every store. Those of names are the narrower of what the Blob
// service and S3 allow, so that a store can move from one to the other.
const (
	MaxName       = 1024 // bytes of UTF-8
	MaxSegments   = 254  // of a name, between slashes
	MinContainer  = 3    // bytes
	MaxContainer  = 63
	MaxBlockID    = 64      // bytes
	MaxBlocks     = 50_000  // in a blob
	MaxStaged     = 100_000 // for one blob
	MaxAppends    = 50_000  // to one blob
	MaxProperties = 8 << 10 // bytes of names and values, metadata included

	// StagedFor is how long a block waits for its Commit.
	StagedFor = 7 * 24 * time.Hour
)
