// Package dirblob keeps blobs in a directory of the file system.
//
// It knows files, their order on stable storage, and how names become paths;
// who may read or write what is decided above it.
//
// # Layout
//
//	DIR/{container}/
//	    tree/…      one file for each blob, in directories as the name has slashes
//	    tmp/…       what is being written; nothing in it outlives a restart
//	    staged/…    blocks that wait for their commit, a directory for each blob
//	    appends/…   the bytes of append blobs
//	DIR/.gone-…     a container that is being deleted
//
// A block blob is one file: its bytes, the list of its blocks, its attributes
// as JSON, and a footer of fixed size with lengths and checksums:
//
//	bytes … │ blocks (JSON) │ attributes (JSON) │ footer
//
// The file of an append blob has no bytes; its attributes name a file in
// appends/ and how much of it counts.
//
// Segments of a name become file names of plain ASCII: what may mean something
// to a file system is escaped as %XX. A file that is a blob ends in "%b"; a
// segment of 64 bytes and more goes on in a directory whose name ends in "%c".
// The rules keep no two names on one path, so that "a" and "a/b" may both be
// blobs, and let a list be read in order without reading everything.
//
// # Durability
//
// A blob is written to tmp/, synced, renamed to its place, and the directory is
// synced, along with every directory that was made for it. A crash leaves the
// old blob or the new one. Bytes are appended to the file in appends/ and
// synced before the attributes, replaced in the same way, say that they count;
// what is behind them is overwritten by the next append.
//
// Open takes away what a crash has left behind.
package dirblob
