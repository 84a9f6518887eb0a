// Package tpm2 is what a server needs of the TPM 2.0 structures to know a device
// by its endorsement key: it reads the public parts that a device sends, and
// makes the activation blob that only the TPM with those keys can open.
//
// It is about bytes and cryptography. Which endorsement key belongs to whom, and
// what the key in a blob is for, is decided by its users. No TPM is needed here.
//
// Sources: Trusted Computing Group, TPM 2.0 Library, part 1 (§11.4.10 KDFa, §23
// duplication, §24 credential protection) and part 2 (§12 public and private
// structures). Every structure is big-endian; a "TPM2B" is a 16-bit length and as
// many bytes.
package tpm2
