// Package seglog is the embedded event log: one journal of segment files for
// all partitions of a log, written in groups that share one fdatasync.
//
// It knows files, records as opaque bytes, offsets and times. It knows nothing
// of messages, hubs or consumers beyond the name of a consumer group.
//
// # Files
//
//	log.meta              what was fixed when the log was made: partitions, salt
//	0000000000000001.seg  segments, numbered from 1 in hexadecimal
//	cursors               positions of consumer groups and trim points
//	LOCK                  held while a process has the log open
//
// All integers are little-endian. Every file begins with a magic and a format
// version; a version this program does not know is refused on Open.
//
// # A segment
//
//	header   magic "CWSEGLOG", version, length, id, the id and the true end of
//	         the segment before, time of creation, salt, and per partition the
//	         next offset and the last time when the segment was begun; CRC
//	frames   one per record, see below
//	footer   only once the segment is finished: per partition the next offset,
//	         first and last time and a sparse index; then a trailer with CRC
//
// or, while it is the one being written, zeros behind the frames: space that is
// written ahead, so that the sync of a small group finds its blocks allocated
// and the size of the file unchanged, and need not commit metadata. Measured on
// ext4 that takes a third off each sync (45 µs against 70 µs); fallocate, with
// or without KEEP_SIZE, gains next to nothing, because turning an unwritten
// extent into a written one is a metadata change as well.
//
// # A frame
//
//	crc        uint32  CRC-32C of payload and the header below, XOR the seed
//	length     uint32  of the payload
//	marker     uint8   0x80 | lowest byte of the seed
//	flags      uint8   1: first of its group; 2: more of the same batch follow
//	partition  uint16
//	offset     int64
//	time       int64   µs since 1970
//	payload
//
// The seed is made of the log's random salt. So a frame of another log is not
// valid here, and a client that sends the bytes of a frame as its payload cannot
// have them taken for a record when damage is skipped. Frames that lie about
// from a deleted segment have offsets that were given before, and are refused
// for that.
//
// # Commit
//
// Appends that wait at the same time form a group. One goroutine writes the
// group with one write and one fdatasync, then publishes it to readers and
// wakes the appenders. The first frame of a group is flagged: it was written
// after everything before it had been synced. That is what tells a torn tail
// from damage after a crash:
//
//   - bad bytes with no flagged frame anywhere behind them belong to the last
//     group, which nobody was told about: the log is cut there, at the end of
//     the last whole batch;
//   - bad bytes before a flagged frame were once durable: that is damage. It is
//     logged, counted and skipped; what is lost is never served, and no offset
//     is given twice.
//
// Before it takes a group the writing goroutine yields once, so that appenders
// that are ready to run join it. On one processor that is all the difference: 64
// producers with one record outstanding get 20,000 acknowledgements a second
// without it, because the first to be woken comes back with a group of its own,
// and 500,000 with it; on two processors it costs nothing.
//
// # Reading
//
// Readers look up their place in memory and then read the file without a lock;
// the writer waits for none of them. The places of the last records of each
// partition are kept exactly, so that a reader of the tail touches only its own
// records; further back there is an entry every 256 KiB in a sparse index, and
// readers remember where they left off. Checksums are verified on every read.
//
// # Failed writes
//
// A group whose write fails is taken back: the segment is truncated to its last
// good end, and every waiting append, also those that queued behind the failing
// group, gets the error; the offsets are free again. When the truncation fails
// too, and always when a sync fails (the kernel may have dropped the dirty
// pages, so nothing can be said of them any more), the segment is given up: the
// next append begins a new one, whose header states where the old one truly
// ends. So bytes of a failed group that reached the disk lie beyond that end
// and are never served, and their offsets are given to other records without
// conflict. One window is left: the process dies after a failed write whose
// truncation could not be made durable, and before a next segment exists. Then
// whole batches of the failed group may be found at the tail on restart and are
// kept, like those of a group that was in flight in a crash. That is legal: a
// client that saw an error sends again and the log is at-least-once. Offsets
// stay consistent, because nothing was appended in between.
//
// # Full disk
//
// An append fails with [eventlog.ErrFull] when the write fails for want of
// space, or before that, when less than [Options.ReserveBytes] would be left
// free. Reading needs no space, retention only unlinks, and consumer positions
// are written in place to blocks that exist already. The next append tries
// again, so writing resumes by itself.
//
// # Cursors
//
// The positions of consumer groups live in their own small file of two slots
// that are overwritten in turn, each with a sequence number and a CRC; the
// newest whole slot counts. Against records in the journal this needs no
// copying when a segment is dropped, and no space on a full disk; against a
// file that is replaced by rename it costs one fdatasync without metadata
// instead of three metadata commits. Commits that wait at the same time share
// one write.
package seglog
