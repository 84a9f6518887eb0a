package admin

import (
	"context"
	"encoding/base64"
	"net/http"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/causeway-iot/causeway/internal/cloud/dps"
	"github.com/causeway-iot/causeway/internal/core/attestation"
	"github.com/causeway-iot/causeway/internal/core/pki"
)

// Certificates is what this head asks of dps.Service about certificates; see there.
type Certificates interface {
	PutAuthority(ctx context.Context, service, name string, der []byte, verified bool, match string) (dps.Authority, error)
	DeleteAuthority(ctx context.Context, service, name, match string) error
	AuthorityCode(ctx context.Context, service, name, match string) (dps.Authority, error)
	VerifyAuthority(ctx context.Context, service, name string, proof []byte, match string) (dps.Authority, error)
	PutRevocationList(ctx context.Context, service, authority string, crl []byte) (dps.Authority, error)

	Revocations(ctx context.Context, service, after string, limit int) ([]dps.Revocation, error)
	Revoke(ctx context.Context, service string, r dps.Revocation) (dps.Revocation, error)
	Unrevoke(ctx context.Context, service, id string) error

	PutCredentialPolicy(ctx context.Context, service string, p dps.CredentialPolicy, match string) (dps.CredentialPolicy, error)
	DeleteCredentialPolicy(ctx context.Context, service, name, match string) error
	IssuedTo(ctx context.Context, service, registration, after string, limit int) ([]dps.Issued, error)
	Revoked(service string, i *dps.Issued) bool
	IssuerChain(service string) ([][]byte, error)
}

// CertificatePath names an authority of a provisioning service.
type CertificatePath struct {
	ServicePath
	Certificate string `path:"certificate" maxLength:"128" doc:"Name of the authority's certificate" example:"plant-ca"`
}

// Condition is the etag that stands for having seen what is to be changed.
type Condition struct {
	IfMatch string `header:"If-Match" maxLength:"64" doc:"The etag of what is changed, or *; none when it is new"`
}

func (c *Condition) match() string { return strings.Trim(strings.TrimPrefix(c.IfMatch, "W/"), `"`) }

// certificateBody is the certificate of an authority, in the form that resource
// managers know.
type certificateBody struct {
	Name       string                `json:"name"`
	ETag       string                `json:"etag" doc:"Changes with every step"`
	Properties certificateProperties `json:"properties"`
}

type certificateProperties struct {
	Subject          string              `json:"subject"`
	Expiry           time.Time           `json:"expiry"`
	Thumbprint       string              `json:"thumbprint" doc:"SHA-256, hexadecimal"`
	IsVerified       bool                `json:"isVerified" doc:"Only verified ones may be referred to"`
	State            string              `json:"state" enum:"valid,expiring,expired" doc:"Expiring within 30 days; the devices of an expired one are refused"`
	Created          time.Time           `json:"created"`
	Updated          time.Time           `json:"updated"`
	Certificate      string              `json:"certificate" doc:"DER in base64"`
	VerificationCode string              `json:"verificationCode,omitempty" doc:"Of the proof of possession under way: the common name of the certificate to make"`
	RevocationList   *revocationListBody `json:"revocationList,omitempty" doc:"The last one that was uploaded"`
}

type revocationListBody struct {
	Issued  time.Time `json:"issued"`
	Next    time.Time `json:"next,omitzero" doc:"When the authority promised the next one"`
	Entries int       `json:"entries"`
}

// stateAt says how near the end of a certificate is.
func stateAt(now, ends time.Time) string {
	switch left := ends.Sub(now); {
	case left <= 0:
		return "expired"
	case left <= dps.ExpiryWarnings[0]:
		return "expiring"
	}
	return "valid"
}

func newCertificate(a *dps.Authority) certificateBody {
	b := certificateBody{Name: a.Name, ETag: a.ETag}
	p := &b.Properties
	*p = certificateProperties{
		IsVerified: a.Verified, Created: a.Created.UTC(), Updated: a.Updated.UTC(), VerificationCode: a.Code,
		Certificate: base64.StdEncoding.EncodeToString(a.DER),
	}
	if c, err := a.Certificate(); err == nil {
		_, p.Thumbprint = pki.Thumbprints(c)
		p.Subject, p.Expiry, p.State = c.Subject.String(), c.NotAfter.UTC(), stateAt(time.Now(), c.NotAfter)
	}
	if !a.List.Issued.IsZero() {
		p.RevocationList = &revocationListBody{a.List.Issued.UTC(), a.List.Next.UTC(), a.List.Entries}
	}
	return b
}

type certificateOutput struct {
	ETag string `header:"ETag"`
	Body certificateBody
}

func newCertificateOutput(a *dps.Authority) *certificateOutput {
	return &certificateOutput{ETag: `"` + a.ETag + `"`, Body: newCertificate(a)}
}

type certificatesOutput struct {
	Body struct {
		Value []certificateBody `json:"value" nullable:"false" doc:"In the order in which they were uploaded"`
	}
}

type putCertificateInput struct {
	CertificatePath
	Condition
	Body struct {
		Properties struct {
			Certificate string `json:"certificate" minLength:"1" maxLength:"16384" doc:"PEM, or DER in base64"`
			IsVerified  bool   `json:"isVerified,omitempty" doc:"Whether its possession need not be proved: who calls answers for it"`
		} `json:"properties"`
	}
}

type changeCertificateInput struct {
	CertificatePath
	Condition
}

type verifyCertificateInput struct {
	CertificatePath
	Condition
	Body struct {
		Certificate string `json:"certificate" minLength:"1" maxLength:"16384" doc:"That has the verification code as its common name and is signed by the authority; PEM, or DER in base64"`
	}
}

type putRevocationListInput struct {
	CertificatePath
	Body struct {
		List string `json:"list" minLength:"1" doc:"PEM, or DER in base64"`
	}
}

func (s *Server) addCertificates(api huma.API) {
	const path, one = "/provisioning/{service}/certificates", "/provisioning/{service}/certificates/{certificate}"
	list := operation("listProvisioningCertificates", http.MethodGet, path, "provisioning", "List the authorities that devices of a provisioning service may have certificates of", 0)
	list.Errors = append(list.Errors, http.StatusNotFound)
	huma.Register(api, list, s.listCertificates)

	get := operation("getProvisioningCertificate", http.MethodGet, one, "provisioning", "Show an authority", 0)
	get.Errors = append(get.Errors, http.StatusNotFound)
	huma.Register(api, get, s.getCertificate)

	changes := []int{http.StatusBadRequest, http.StatusNotFound, http.StatusConflict, http.StatusPreconditionFailed, http.StatusUnprocessableEntity}
	put := operation("putProvisioningCertificate", http.MethodPut, one, "provisioning", "Upload the certificate of an authority, or replace it", 0)
	put.Errors = append(put.Errors, changes...)
	huma.Register(api, put, s.putCertificate)

	del := operation("deleteProvisioningCertificate", http.MethodDelete, one, "provisioning", "Remove an authority that no enrollment refers to", 0)
	del.DefaultStatus = http.StatusNoContent
	del.Errors = append(del.Errors, http.StatusNotFound, http.StatusConflict, http.StatusPreconditionFailed)
	huma.Register(api, del, s.deleteCertificate)

	code := operation("generateVerificationCode", http.MethodPost, one+"/generateVerificationCode", "provisioning", "Begin the proof that whoever uploaded a certificate has its key", 0)
	code.Errors = append(code.Errors, http.StatusNotFound, http.StatusPreconditionFailed)
	huma.Register(api, code, s.generateCode)

	verify := operation("verifyProvisioningCertificate", http.MethodPost, one+"/verify", "provisioning", "End the proof with the certificate that was asked for", 0)
	verify.Errors = append(verify.Errors, changes...)
	huma.Register(api, verify, s.verifyCertificate)

	crl := operation("putRevocationList", http.MethodPut, one+"/revocationList", "provisioning", "Take over a revocation list (CRL) of an authority in place of the one before", 0)
	crl.MaxBodyBytes = 2 * dps.MaxRevocationList // base64 and JSON around it
	crl.Errors = append(crl.Errors, http.StatusBadRequest, http.StatusForbidden, http.StatusNotFound, http.StatusConflict, http.StatusPreconditionFailed, http.StatusUnprocessableEntity)
	huma.Register(api, crl, s.putRevocationList)
}

func (s *Server) listCertificates(ctx context.Context, in *ServicePath) (*certificatesOutput, error) {
	i, err := s.service(in.name())
	if err != nil {
		return nil, s.problem(ctx, err)
	}
	out := &certificatesOutput{}
	out.Body.Value = make([]certificateBody, 0, len(i.Authorities))
	for k := range i.Authorities {
		out.Body.Value = append(out.Body.Value, newCertificate(&i.Authorities[k]))
	}
	return out, nil
}

func (s *Server) getCertificate(ctx context.Context, in *CertificatePath) (*certificateOutput, error) {
	i, err := s.service(in.name())
	if err != nil {
		return nil, s.problem(ctx, err)
	}
	a, err := i.Authority(in.Certificate)
	if err != nil {
		return nil, s.problem(ctx, err)
	}
	return newCertificateOutput(&a), nil
}

func (s *Server) putCertificate(ctx context.Context, in *putCertificateInput) (*certificateOutput, error) {
	i, err := s.service(in.name())
	if err != nil {
		return nil, s.problem(ctx, err)
	}
	c, err := attestation.ParseCertificate(in.Body.Properties.Certificate)
	if err != nil {
		return nil, s.problem(ctx, badRequest("properties.certificate: %v", err))
	}
	a, err := s.Provisioning.PutAuthority(ctx, i.Name, in.Certificate, c.Raw, in.Body.Properties.IsVerified, in.match())
	if err != nil {
		return nil, s.problem(ctx, err)
	}
	s.Log.InfoContext(ctx, "authority uploaded", "service", i.Name, "authority", a.Name, "verified", a.Verified)
	return newCertificateOutput(&a), nil
}

func (s *Server) deleteCertificate(ctx context.Context, in *changeCertificateInput) (*struct{}, error) {
	i, err := s.service(in.name())
	if err == nil {
		err = s.Provisioning.DeleteAuthority(ctx, i.Name, in.Certificate, in.match())
	}
	if err != nil {
		return nil, s.problem(ctx, err)
	}
	s.Log.InfoContext(ctx, "authority removed", "service", i.Name, "authority", in.Certificate)
	return nil, nil
}

func (s *Server) generateCode(ctx context.Context, in *changeCertificateInput) (*certificateOutput, error) {
	i, err := s.service(in.name())
	if err != nil {
		return nil, s.problem(ctx, err)
	}
	a, err := s.Provisioning.AuthorityCode(ctx, i.Name, in.Certificate, in.match())
	if err != nil {
		return nil, s.problem(ctx, err)
	}
	return newCertificateOutput(&a), nil
}

func (s *Server) verifyCertificate(ctx context.Context, in *verifyCertificateInput) (*certificateOutput, error) {
	i, err := s.service(in.name())
	if err != nil {
		return nil, s.problem(ctx, err)
	}
	c, err := attestation.ParseCertificate(in.Body.Certificate)
	if err != nil {
		return nil, s.problem(ctx, badRequest("certificate: %v", err))
	}
	a, err := s.Provisioning.VerifyAuthority(ctx, i.Name, in.Certificate, c.Raw, in.match())
	if err != nil {
		return nil, s.problem(ctx, err)
	}
	s.Log.InfoContext(ctx, "authority verified", "service", i.Name, "authority", a.Name)
	return newCertificateOutput(&a), nil
}

func (s *Server) putRevocationList(ctx context.Context, in *putRevocationListInput) (*certificateOutput, error) {
	i, err := s.service(in.name())
	if err != nil {
		return nil, s.problem(ctx, err)
	}
	list := []byte(in.Body.List)
	if !strings.Contains(in.Body.List, "-----BEGIN") {
		if list, err = base64.StdEncoding.DecodeString(strings.Join(strings.Fields(in.Body.List), "")); err != nil {
			return nil, s.problem(ctx, badRequest("list is neither PEM nor base64"))
		}
	}
	a, err := s.Provisioning.PutRevocationList(ctx, i.Name, in.Certificate, list)
	if err != nil {
		return nil, s.problem(ctx, err)
	}
	return newCertificateOutput(&a), nil
}
