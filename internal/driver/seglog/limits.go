package seglog

import "time"

// Limits of a log.
const (
	// DefaultSegmentBytes is the size at which a segment is finished.
	DefaultSegmentBytes = 64 << 20
	// MinSegmentBytes and MaxSegmentBytes bound Options.SegmentBytes.
	MinSegmentBytes = 16 << 10
	MaxSegmentBytes = 1 << 30

	// MaxPartitions bounds Options.Partitions.
	MaxPartitions = 1024

	// MaxRecordBytes bounds the payload of one record: the largest message is
	// 256 KiB, with room for what gateways and modules add.
	MaxRecordBytes = 1 << 20
	// MaxBatchBytes bounds the payloads of one Append.
	MaxBatchBytes = 32 << 20
	// MaxReadBytes bounds what one Read returns, but for a first record that
	// is larger.
	MaxReadBytes = 4 << 20

	// MaxGroups and MaxGroupName bound the consumer groups with a position.
	MaxGroups    = 1024
	MaxGroupName = 256 // bytes

	// DefaultReserveBytes of the file system are left free by appends, but at
	// most a fiftieth of its size.
	DefaultReserveBytes = 16 << 20
)

const (
	// maxPendingBytes bounds the group that is being gathered; appends wait
	// for the next one when it is reached.
	maxPendingBytes = 8 << 20
	// keepBufferBytes is the largest group buffer kept for the next group.
	keepBufferBytes = 4 << 20

	// fillBytes is how far zeros are written ahead of the frames. A group of
	// more than a quarter of it is not worth it: its sync is long anyway.
	fillBytes = 256 << 10

	// indexBytes is the distance of the entries of the sparse index of one
	// partition; with many partitions it grows, so that the index of a segment
	// stays near 0.04 % of its bytes.
	indexBytes = 256 << 10

	// Reads from a segment are of this size, as much as the caller wants.
	minChunkBytes = 16 << 10
	maxChunkBytes = 256 << 10

	// recentRecords bounds the records, of all partitions together, whose exact
	// places are kept for the readers of the tail; 4 bytes each.
	recentRecords = 1 << 18
	// sparseBytes is the mean distance of the records of a partition from which
	// on they are read one by one.
	sparseBytes = 4 << 10

	// maxIdleFiles bounds the segment files kept open without a reader.
	maxIdleFiles = 32

	// maxNoted bounds the damaged spots remembered so as to be counted once.
	maxNoted = 4096

	// hintsPerPartition is how many readers of one partition find their place
	// again without the index.
	hintsPerPartition = 8

	// maxMaintainEvery bounds the time between two looks at retention.
	maxMaintainEvery = time.Minute
)
