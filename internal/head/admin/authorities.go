package admin

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"net/http"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/causeway-iot/causeway"
	"github.com/causeway-iot/causeway/internal/cloud/directory"
	"github.com/causeway-iot/causeway/internal/core/auth"
	"github.com/causeway-iot/causeway/internal/core/pki"
	"github.com/causeway-iot/causeway/internal/obs"
)

// authorityBody shows a certificate authority of a hub.
type authorityBody struct {
	Name     string    `json:"name"`
	Subject  string    `json:"subject"`
	SHA256   string    `json:"sha256" doc:"Thumbprint of the certificate, hexadecimal"`
	NotAfter time.Time `json:"notAfter"`
	Verified bool      `json:"verified" doc:"Only verified ones authenticate devices"`
	Created  time.Time `json:"created"`
}

func newAuthorities(in []directory.Authority) []authorityBody {
	out := make([]authorityBody, 0, len(in))
	for _, a := range in {
		sum := sha256.Sum256(a.DER)
		b := authorityBody{Name: a.Name, SHA256: hex.EncodeToString(sum[:]), Verified: a.Verified, Created: a.Created.UTC()}
		if cert, err := a.Certificate(); err == nil {
			b.Subject, b.NotAfter = cert.Subject.String(), cert.NotAfter.UTC()
		}
		out = append(out, b)
	}
	return out
}

// AuthorityPath names an authority of a hub.
type AuthorityPath struct {
	HubPath
	Name string `path:"name" maxLength:"64" doc:"Name of the authority on the hub"`
}

type addAuthorityInput struct {
	AuthorityPath
	Body struct {
		Certificate string `json:"certificate" maxLength:"65536" doc:"The certificate as PEM text"`
		Verified    *bool  `json:"verified,omitempty" doc:"Whether it may authenticate devices; true unless said otherwise: who calls owns the hub"`
	}
}

type authoritiesOutput struct {
	Body struct {
		Authorities []authorityBody `json:"authorities" nullable:"false"`
	}
}

func (s *Server) addAuthorities(api huma.API) {
	list := operation("listAuthorities", http.MethodGet, "/hubs/{hub}/authorities", "authorities", "List the certificate authorities of a hub", auth.RegistryRead|auth.RegistryWrite)
	list.Errors = append(list.Errors, http.StatusNotFound)
	huma.Register(api, list, s.listAuthorities)

	put := operation("putAuthority", http.MethodPut, "/hubs/{hub}/authorities/{name}", "authorities", "Register a certificate authority; devices with certificates of it may connect", auth.AllRights)
	put.Errors = append(put.Errors, http.StatusBadRequest, http.StatusNotFound, http.StatusConflict, http.StatusUnprocessableEntity)
	huma.Register(api, put, s.putAuthority)

	del := operation("deleteAuthority", http.MethodDelete, "/hubs/{hub}/authorities/{name}", "authorities", "Remove a certificate authority", auth.AllRights)
	del.DefaultStatus = http.StatusNoContent
	del.Errors = append(del.Errors, http.StatusNotFound)
	huma.Register(api, del, s.deleteAuthority)
}

func (s *Server) listAuthorities(ctx context.Context, in *HubPath) (*authoritiesOutput, error) {
	h, err := s.find(in.name())
	if err != nil {
		return nil, s.problem(ctx, err)
	}
	return newAuthoritiesOutput(h), nil
}

func newAuthoritiesOutput(h directory.Hub) *authoritiesOutput {
	out := &authoritiesOutput{}
	out.Body.Authorities = newAuthorities(h.Authority)
	return out
}

func (s *Server) putAuthority(ctx context.Context, in *addAuthorityInput) (*authoritiesOutput, error) {
	der, err := parsePEM(in.Body.Certificate)
	if err != nil {
		return nil, s.problem(ctx, err)
	}
	a := directory.Authority{Name: in.Name, DER: der, Verified: in.Body.Verified == nil || *in.Body.Verified}
	h, err := s.Directory.AddAuthority(ctx, in.name(), a)
	if err != nil {
		return nil, s.problem(ctx, err)
	}
	s.Log.InfoContext(ctx, "authority registered", obs.KeyHub, h.Name, "authority", a.Name, "verified", a.Verified)
	return newAuthoritiesOutput(h), nil
}

func (s *Server) deleteAuthority(ctx context.Context, in *AuthorityPath) (*struct{}, error) {
	h, err := s.Directory.RemoveAuthority(ctx, in.name(), in.Name)
	if err != nil {
		return nil, s.problem(ctx, err)
	}
	s.Log.InfoContext(ctx, "authority removed", obs.KeyHub, h.Name, "authority", in.Name)
	return nil, nil
}

// parsePEM returns the one authority in PEM text.
func parsePEM(text string) ([]byte, error) {
	const op = "admin.authority"
	certs, err := pki.ParseAuthorities([]byte(text))
	if err != nil {
		return nil, &causeway.Error{Code: causeway.ArgumentInvalid, Op: op, Msg: "certificate: " + err.Error(), Err: err}
	}
	if len(certs) > 1 {
		return nil, causeway.Errorf(causeway.ArgumentInvalid, op, "certificate holds %d certificates: register each under a name of its own", len(certs))
	}
	return certs[0].Raw, nil
}
