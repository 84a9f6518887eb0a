// Package codec is the codec of AMQP 1.0 (OASIS standard, ISO/IEC 19464), for
// clients and for servers alike: bytes to values, performatives, frames and
// messages, and back.
//
// It knows parts 1 to 3 and 5 of the standard as far as they are about bytes.
// It knows nothing of connections, sessions and links, nor of what addresses,
// annotations and properties mean to anybody.
//
// # Memory
//
// Decoding copies nothing. A [Value], a [Message] and the fields of a
// [Performative] point into the bytes they were decoded from and are valid as
// long as these are; whoever keeps one clones it. Lists, maps and arrays are
// not unfolded: they are checked once, as a whole, and then read from where
// they lie. A length or a count that a peer claims is never a reason to
// allocate: what decoding allocates (for a source, a target, an error, the
// index of a large map) is smaller than the bytes that have arrived by a
// constant factor at worst.
//
// # Strictness
//
// What the standard forbids in a single value, frame or message is refused with
// an [*Error], which carries the condition to tell the peer: unknown
// constructors, sizes and counts that do not fit, text that is not UTF-8,
// symbols that are not ASCII, maps with a key twice or with one that is not a
// simple value, mandatory fields that are
// missing, sections out of order. Three liberties are taken, as clients do:
// a string may stand for a symbol or for binary in a field, a symbol for a
// string, and annotations may have strings as keys.
//
// Writing is canonical: the shortest form of every value, trailing nulls left
// out, fields that have their default left out, sections that say nothing left
// out. Equal things have equal bytes.
package codec
