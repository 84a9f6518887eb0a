// Package upload lets devices put files into the blob storage of their hub: a
// device asks for a ticket, sends its file to the storage by the signature in
// it, and reports how that went; back ends are then told of the file.
//
//	Begin ──▶ ticket ──▶ (PUT to the storage) ──▶ Complete ──▶ file notification
//	             │ time to live over
//	             ▼
//	          expired ──▶ forgotten
//
// Tickets are durable: a file may be begun before a restart and completed after
// it. A notification is queued before its ticket is gone, so that a crash
// between the two may tell of one file twice, never of none.
//
// The package knows no protocol, and of the storage only the port and how its
// signatures are made.
package upload
