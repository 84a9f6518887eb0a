// Package transfer writes the identities of a hub to a blob, and reads them from
// one: the import and export jobs of IoT Hub. One runs at a time in a hub.
//
//	enqueued ──▶ running ──▶ completed
//	    │           ├──────▶ failed
//	    └───────────┴──────▶ cancelled
//
// Files are read and written in parts of a few megabytes, whatever their size.
// An export that a restart has interrupted begins anew, under the same name: a
// blob appears whole. An import goes on behind the last lines that were applied
// for certain; the lines after them are applied again, and what they have done
// before the restart is not taken for a failure.
//
// It does not know protocols, nor where blobs are: a container is opened by the
// address that the caller gave, with the right to use it in it.
package transfer
