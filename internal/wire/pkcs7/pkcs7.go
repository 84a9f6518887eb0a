// Package pkcs7 writes certificates as a PKCS #7 message that is nothing but a bag
// of them ("certs-only", RFC 5652 §5, RFC 8551 §3.8), as enrollment protocols
// want them.
package pkcs7

import (
	"encoding/asn1"
	"fmt"
)

var (
	oidData       = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 7, 1}
	oidSignedData = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 7, 2}
)

// emptySet is a SET OF without elements.
var emptySet = asn1.RawValue{Class: asn1.ClassUniversal, Tag: asn1.TagSet, IsCompound: true}

type contentInfo struct {
	Type    asn1.ObjectIdentifier
	Content signedData `asn1:"explicit,tag:0"`
}

type signedData struct {
	Version      int
	Digests      asn1.RawValue
	Encapsulated struct{ Type asn1.ObjectIdentifier }
	Certificates asn1.RawValue
	Signers      asn1.RawValue
}

// Certificates returns a message, DER, with certificates, DER each, in that order.
func Certificates(certs ...[]byte) ([]byte, error) {
	var bag []byte
	for _, c := range certs {
		bag = append(bag, c...)
	}
	m := contentInfo{Type: oidSignedData, Content: signedData{
		Version: 1, Digests: emptySet, Signers: emptySet,
		Certificates: asn1.RawValue{Class: asn1.ClassContextSpecific, Tag: 0, IsCompound: true, Bytes: bag},
	}}
	m.Content.Encapsulated.Type = oidData
	der, err := asn1.Marshal(m)
	if err != nil {
		return nil, fmt.Errorf("write a PKCS #7 message: %w", err)
	}
	return der, nil
}
