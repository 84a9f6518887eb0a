package client

import (
	"context"
	"net/http"
	"net/url"
	"strconv"
)

// ProvisioningCertificate is the certificate of an authority that devices of a
// provisioning service may have certificates of.
type ProvisioningCertificate struct {
	Name       string                            `json:"name"`
	ETag       string                            `json:"etag"` // changes with every step
	Properties ProvisioningCertificateProperties `json:"properties"`
}

// ProvisioningCertificateProperties is what is known of an authority.
type ProvisioningCertificateProperties struct {
	Subject          string          `json:"subject"`
	Expiry           Time            `json:"expiry"`
	Thumbprint       string          `json:"thumbprint"` // SHA-256, hexadecimal
	IsVerified       bool            `json:"isVerified"` // enrollments may refer to it
	State            string          `json:"state"`      // valid, expiring or expired
	Created          Time            `json:"created"`
	Updated          Time            `json:"updated"`
	Certificate      string          `json:"certificate"`                // DER, base64
	VerificationCode string          `json:"verificationCode,omitempty"` // of the proof under way
	RevocationList   *RevocationList `json:"revocationList,omitempty"`
}

// RevocationList is what is known of the revocation list of an authority.
type RevocationList struct {
	Issued  Time `json:"issued"`
	Next    Time `json:"next"` // when the authority promised the next one; may be zero
	Entries int  `json:"entries"`
}

// ProvisioningCertificates lists the authorities of a provisioning service.
func (a *Admin) ProvisioningCertificates(ctx context.Context, service string) ([]ProvisioningCertificate, error) {
	var out struct{ Value []ProvisioningCertificate }
	err := a.call(ctx, "list certificates", http.MethodGet, servicePath(service)+"/certificates", nil, &out)
	return out.Value, err
}

// ProvisioningCertificate returns an authority of a provisioning service.
func (a *Admin) ProvisioningCertificate(ctx context.Context, service, name string) (c ProvisioningCertificate, err error) {
	err = a.call(ctx, "get certificate", http.MethodGet, certificatePath(service, name), nil, &c)
	return c, err
}

// PutProvisioningCertificate uploads the certificate of an authority, PEM or base64
// of DER. One that is there is replaced if its etag is match, or with "*". With
// verified the caller answers for its possession.
func (a *Admin) PutProvisioningCertificate(ctx context.Context, service, name, certificate string, verified bool, match string) (c ProvisioningCertificate, err error) {
	body := map[string]any{"properties": map[string]any{"certificate": certificate, "isVerified": verified}}
	err = a.callIf(ctx, "upload certificate", http.MethodPut, certificatePath(service, name), match, body, &c)
	return c, err
}

// DeleteProvisioningCertificate removes an authority that no enrollment refers to.
func (a *Admin) DeleteProvisioningCertificate(ctx context.Context, service, name, match string) error {
	return a.callIf(ctx, "delete certificate", http.MethodDelete, certificatePath(service, name), match, nil, nil)
}

// GenerateVerificationCode begins the proof of possession of an authority: the
// verification code is to be the common name of a certificate that it signs.
func (a *Admin) GenerateVerificationCode(ctx context.Context, service, name, match string) (c ProvisioningCertificate, err error) {
	err = a.callIf(ctx, "generate verification code", http.MethodPost, certificatePath(service, name)+"/generateVerificationCode", match, nil, &c)
	return c, err
}

// VerifyProvisioningCertificate ends the proof with that certificate.
func (a *Admin) VerifyProvisioningCertificate(ctx context.Context, service, name, proof, match string) (c ProvisioningCertificate, err error) {
	err = a.callIf(ctx, "verify certificate", http.MethodPost, certificatePath(service, name)+"/verify", match, map[string]string{"certificate": proof}, &c)
	return c, err
}

// PutRevocationList takes over a revocation list of an authority, PEM or base64 of
// DER, in place of the one before.
func (a *Admin) PutRevocationList(ctx context.Context, service, name, list string) (c ProvisioningCertificate, err error) {
	err = a.call(ctx, "put revocation list", http.MethodPut, certificatePath(service, name)+"/revocationList", map[string]string{"list": list}, &c)
	return c, err
}

// Revocation is a certificate that is revoked.
type Revocation struct {
	ID           string `json:"id"`
	Certificate  string `json:"certificate,omitempty"` // name of the authority that issued it
	SerialNumber string `json:"serialNumber,omitempty"`
	Thumbprint   string `json:"thumbprint,omitempty"`
	Reason       string `json:"reason,omitempty"`
	Listed       bool   `json:"listed,omitempty"` // it came with a revocation list
	Revoked      Time   `json:"revoked"`
}

// Revoke is a certificate to revoke: by its thumbprint, or by its serial number and
// the name of the authority that issued it; none is the service itself.
type Revoke struct {
	Certificate  string `json:"certificate,omitempty"`
	SerialNumber string `json:"serialNumber,omitempty"`
	Thumbprint   string `json:"thumbprint,omitempty"`
	Reason       string `json:"reason,omitempty"`
}

// RevokeCertificate revokes a certificate: who shows it is refused.
func (a *Admin) RevokeCertificate(ctx context.Context, service string, r Revoke) (out Revocation, err error) {
	err = a.call(ctx, "revoke certificate", http.MethodPost, servicePath(service)+"/revocations", r, &out)
	return out, err
}

// Revocations lists up to limit certificates that are revoked, from the first whose
// id is greater than after. Next is what to go on after, "" at the end.
func (a *Admin) Revocations(ctx context.Context, service, after string, limit int) (list []Revocation, next string, err error) {
	var out struct {
		Revocations []Revocation
		After       string
	}
	err = a.call(ctx, "list revocations", http.MethodGet, servicePath(service)+"/revocations"+pageQuery(after, limit, ""), nil, &out)
	return out.Revocations, out.After, err
}

// DeleteRevocation forgets a revocation.
func (a *Admin) DeleteRevocation(ctx context.Context, service, id string) error {
	return a.call(ctx, "delete revocation", http.MethodDelete, servicePath(service)+"/revocations/"+url.PathEscape(id), nil, nil)
}

// CredentialPolicy says which certificates a provisioning service issues to the
// devices of the enrollments that name it.
type CredentialPolicy struct {
	Name               string   `json:"name"`
	ETag               string   `json:"etag"`
	LifetimeSeconds    int64    `json:"lifetimeSeconds"`
	RenewBeforeSeconds int64    `json:"renewBeforeSeconds"` // before its end; 0 is at any time
	KeyTypes           []string `json:"keyTypes"`           // e.g. ec-p256, rsa-2048; none means all
	Created            Time     `json:"created"`
	Updated            Time     `json:"updated"`
}

// CredentialPolicies lists the credential policies of a provisioning service.
func (a *Admin) CredentialPolicies(ctx context.Context, service string) ([]CredentialPolicy, error) {
	var out struct{ CredentialPolicies []CredentialPolicy }
	err := a.call(ctx, "list credential policies", http.MethodGet, servicePath(service)+"/credentialPolicies", nil, &out)
	return out.CredentialPolicies, err
}

// PutCredentialPolicy makes a credential policy, or replaces the one of its name if
// its etag is match, or with "*". ETag and times of p do not matter.
func (a *Admin) PutCredentialPolicy(ctx context.Context, service string, p CredentialPolicy, match string) (out CredentialPolicy, err error) {
	body := struct {
		Lifetime    int64    `json:"lifetimeSeconds"`
		RenewBefore int64    `json:"renewBeforeSeconds,omitempty"`
		KeyTypes    []string `json:"keyTypes,omitempty"`
	}{p.LifetimeSeconds, p.RenewBeforeSeconds, p.KeyTypes}
	err = a.callIf(ctx, "put credential policy", http.MethodPut, credentialPath(service, p.Name), match, body, &out)
	return out, err
}

// DeleteCredentialPolicy removes a credential policy that no enrollment refers to.
func (a *Admin) DeleteCredentialPolicy(ctx context.Context, service, name, match string) error {
	return a.callIf(ctx, "delete credential policy", http.MethodDelete, credentialPath(service, name), match, nil, nil)
}

// IssuedCertificate is a certificate that was issued to a device.
type IssuedCertificate struct {
	SerialNumber         string `json:"serialNumber"`
	Thumbprint           string `json:"thumbprint"` // SHA-256, hexadecimal
	RegistrationID       string `json:"registrationId"`
	EnrollmentGroupID    string `json:"enrollmentGroupId,omitempty"`
	CredentialPolicyName string `json:"credentialPolicyName"`
	Created              Time   `json:"created"`
	Expiry               Time   `json:"expiry"`
	Revoked              bool   `json:"revoked,omitempty"`
}

// IssuedCertificates lists up to limit certificates that were issued to a device,
// or to all when registration is "", from the first whose serial number is greater
// than after. Next is what to go on after, "" at the end.
func (a *Admin) IssuedCertificates(ctx context.Context, service, registration, after string, limit int) (list []IssuedCertificate, next string, err error) {
	var out struct {
		Certificates []IssuedCertificate
		After        string
	}
	err = a.call(ctx, "list issued certificates", http.MethodGet, servicePath(service)+"/issuedCertificates"+pageQuery(after, limit, registration), nil, &out)
	return out.Certificates, out.After, err
}

// Issuer returns the certificates of the authorities that issue to devices of a
// provisioning service, PEM; "" before the first credential policy.
func (a *Admin) Issuer(ctx context.Context, service string) (string, error) {
	var out struct{ Certificates string }
	err := a.call(ctx, "get issuer", http.MethodGet, servicePath(service)+"/issuer", nil, &out)
	return out.Certificates, err
}

func certificatePath(service, name string) string {
	return servicePath(service) + "/certificates/" + url.PathEscape(name)
}

func credentialPath(service, name string) string {
	return servicePath(service) + "/credentialPolicies/" + url.PathEscape(name)
}

func pageQuery(after string, limit int, registration string) string {
	q := url.Values{}
	if after != "" {
		q.Set("after", after)
	}
	if limit > 0 {
		q.Set("limit", strconv.Itoa(limit))
	}
	if registration != "" {
		q.Set("registrationId", registration)
	}
	if len(q) == 0 {
		return ""
	}
	return "?" + q.Encode()
}
