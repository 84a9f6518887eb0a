package admin

import (
	"crypto/sha256"
	"crypto/subtle"
	"net/http"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/causeway-iot/causeway"
	"github.com/causeway-iot/causeway/internal/core/auth"
	"github.com/causeway-iot/causeway/internal/wire/sas"
)

// rightsKey is the key of an operation's metadata under which stands what a
// policy of the hub in the path needs: an auth.Rights. Operations without it
// are for the administrator alone.
const rightsKey = "rights"

// grantKey is the context key of the grant of a policy.
type grantKey struct{}

// isAdmin reports whether an Authorization header holds the administrator's token.
func (s *Server) isAdmin(header string) bool {
	scheme, token, _ := strings.Cut(header, " ")
	if s.Token == "" || !strings.EqualFold(scheme, "Bearer") {
		return false
	}
	// Hashed, so that not even the length is given away.
	got, want := sha256.Sum256([]byte(strings.TrimSpace(token))), sha256.Sum256([]byte(s.Token))
	return subtle.ConstantTimeCompare(got[:], want[:]) == 1
}

// authorize is a huma middleware. The administrator may do everything; the
// holder of a policy may do to its hub what the operation says.
func (s *Server) authorize(api huma.API) func(huma.Context, func(huma.Context)) {
	return func(ctx huma.Context, next func(huma.Context)) {
		header := ctx.Header("Authorization")
		if s.isAdmin(header) {
			next(ctx)
			return
		}
		grant, err := s.grant(ctx, header)
		if err != nil {
			s.Metrics.Refused.WithLabelValues(causeway.CodeOf(err).Name()).Inc()
			s.Log.Debug("request refused", "operation", ctx.Operation().OperationID, "remote", ctx.RemoteAddr(), "error", err)
			ctx.SetHeader("WWW-Authenticate", "Bearer")
			writeProblem(api, ctx, err)
			return
		}
		next(huma.WithValue(ctx, grantKey{}, grant))
	}
}

// grant checks the token of a policy.
func (s *Server) grant(ctx huma.Context, header string) (auth.Grant, error) {
	const op = "admin.authorize"
	need, hubScoped := ctx.Operation().Metadata[rightsKey].(auth.Rights)
	scheme, _, _ := strings.Cut(header, " ")
	switch {
	case header == "":
		return auth.Grant{}, causeway.Errorf(causeway.GenericUnauthorized, op, "the Authorization header is missing: send \"Bearer\" and the admin token%s", orPolicy(hubScoped))
	case !hubScoped || !strings.EqualFold(scheme, sas.Prefix):
		return auth.Grant{}, causeway.Errorf(causeway.GenericUnauthorized, op, "not authorized: send \"Bearer\" and the admin token of this server%s", orPolicy(hubScoped))
	}
	hub, ok := s.Directory.Get(strings.ToLower(ctx.Param("hub")))
	if !ok || len(hub.Hosts) == 0 {
		// As for a wrong key: which hubs there are is not for strangers.
		return auth.Grant{}, auth.Unauthorized(op, auth.ErrPolicy)
	}
	// The hub is named by the path, not by the host of the request: any name
	// of the hub will do.
	u := ctx.URL()
	token := causeway.Secret(sas.Prefix + header[len(sas.Prefix):])
	grant, err := auth.Service(time.Now(), token, hub.Hosts[0], u.Path, hub.Realm())
	if err != nil {
		return auth.Grant{}, err
	}
	if grant.Rights&need == 0 || need == auth.AllRights && grant.Rights != need {
		return auth.Grant{}, causeway.Errorf(causeway.IotHubUnauthorized, op, "the policy %q lacks the permission %s", grant.Policy, need)
	}
	return grant, nil
}

func orPolicy(hubScoped bool) string {
	if hubScoped {
		return ", or a shared access signature of a policy of the hub"
	}
	return ""
}

// adminOnly guards a plain handler.
func (s *Server) adminOnly(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !s.isAdmin(r.Header.Get("Authorization")) {
			w.Header().Set("WWW-Authenticate", "Bearer")
			http.Error(w, "not authorized: send \"Bearer\" and the admin token in the Authorization header", http.StatusUnauthorized)
			return
		}
		next.ServeHTTP(w, r)
	})
}
