// Package mqtt is the codec of MQTT 3.1.1 and MQTT 5, for clients and for
// servers: bytes to packets and back.
//
// It knows the two OASIS standards and nothing of topics' meaning, sessions or
// connections. Whoever wants packets from a stream uses a [Reader]; whoever
// owns buffers itself cuts them with [Split] and decodes the [Frame] into a
// packet of its type. Whatever is sent is appended to a byte slice.
//
// # Memory
//
// Decoding copies nothing. The strings and slices of a decoded packet point
// into the frame, and are valid as long as the bytes of the frame are; whoever
// keeps one clones it (or takes packets from [Reader.Packet], which are the
// caller's). Decode overwrites a packet and reuses its slices, so that a packet
// which is decoded into again and again soon costs no allocation. A length
// that a peer claims is never a reason to allocate: memory grows with bytes
// that have arrived.
//
// # Strictness
//
// Everything the standards forbid in a single packet is refused with a
// [*Error], which carries the MQTT 5 reason code for it: reserved bits, ids of
// zero, text that is not UTF-8 or has a NUL, wildcards in topic names, empty
// filters, properties where they do not belong, trailing bytes. What depends
// on a session (a second CONNECT, an unknown packet id, a wildcard at a
// misplaced spot, which is answered per filter) is the caller's to judge.
package mqtt
