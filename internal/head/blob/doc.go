// Package blob is the head that speaks the REST API of Azure's Blob service, as
// far as storage clients use it to put, read, list and delete block and append
// blobs.
//
// It translates: paths, headers and XML to calls of the blob port, and its
// errors to the service's. Who may do what is said by a shared access signature
// in the query of each request, for one blob, a container or the account. What
// hub an account belongs to, and where the bytes are, it does not know.
//
// # Addresses
//
// The account of a hub has a fixed name, [blobsas.AccountName], and answers on the
// hub's own hosts and port. Storage clients spell addresses in two ways, and
// both mean the same here:
//
//	https://{host}/{container}/{blob}             as with a domain of one's own
//	https://{host}/causeway/{container}/{blob}    as clients expect of localhost and IP addresses
//
// [Match] tells requests of storage clients from those to the hub: they have a
// signature (sig and sv) in the query, or a header x-ms-version.
package blob
