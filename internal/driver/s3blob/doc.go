// Package s3blob keeps blobs in a bucket of a service that speaks S3.
//
// It knows objects and their keys; who may read or write what is decided above
// it.
//
// # Layout
//
// Below the prefix of the store:
//
//	{container}/.container         says that there is a container, and since when
//	{container}/a/{name}           what a blob is: JSON with its attributes and chunks
//	{container}/d/{hash}/{chunk}   bytes that never change; hash is of the blob's name
//
// A blob is the chunks that its document lists, one after the other. So a list
// of blocks is committed, and an append blob grows, without copying a byte, and
// a blob changes at the one moment when its document is replaced.
//
// A chunk that no document lists is a block that waits for its commit, or what a
// crash has left; Sweep takes it away when it is old. The chunks of a version
// are deleted once another is there: who reads a blob of several chunks
// meanwhile gets an error, never bytes of two versions.
//
// Names are escaped so that keys keep their order and have nothing that services
// or their file systems take for something else. Names that take more than a key
// holds end in a hash: among those that begin alike, lists have another order.
//
// # One writer
//
// Not every service can change an object under a condition. Conditions hold
// among the users of one Store: a bucket, or a prefix of it, belongs to one
// process.
package s3blob
