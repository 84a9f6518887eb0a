package sqlite

import "time"

// Bounds of the driver.
const (
	maxQueue      = 1024    // changes waiting for the writer; then callers wait to hand theirs over
	maxGroup      = 512     // changes in one transaction
	maxGroupBytes = 4 << 20 // payload after which a transaction takes no more changes

	checkEvery = 256 // records of a query between looks at its context
	hashChunk  = 500 // twins indexed in one transaction after an upgrade

	defaultReaders = 4
	maxReaders     = 64

	writerCacheKiB = 16 << 10 // page cache of the writing connection
	readerCacheKiB = 2 << 10  // page cache of each reading connection

	// The write-ahead log is copied into the database, by the writer, once it
	// has this many pages of 4 KiB; between checkpoints a page that changes
	// often is written once per commit but copied once. The file is cut to
	// walKept when it starts over, which it does at the first commit that
	// follows a complete checkpoint.
	checkpointPages = 4000
	walKept         = 32 << 20 // bytes

	busyTimeout = 5 * time.Second // another process, e.g. a backup, holds the lock

	defaultMaxIdentities = 1_000_000 // devices and modules of one hub
	hubDeleteChunk       = 500       // identities or messages forgotten in one transaction by DeleteHub
)
