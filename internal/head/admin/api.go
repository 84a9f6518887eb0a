package admin

import (
	"context"
	"net/http"
	"strconv"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"

	"github.com/causeway-iot/causeway/internal/core/auth"
)

// mountAPI adds the API and its description.
func (s *Server) mountAPI(mux *http.ServeMux) huma.API {
	config := huma.DefaultConfig("Causeway admin API", "1")
	config.Info.Description = "Hubs, their policies, authorities and consumer groups, and what happens on them. " +
		"Requests bear the admin token of the server; those about one hub may bear a shared access signature of a policy of the hub instead."
	config.Info.License = &huma.License{Name: "Apache-2.0", URL: "https://www.apache.org/licenses/LICENSE-2.0"}
	config.OpenAPIPath = Prefix + "/openapi"
	config.DocsPath, config.SchemasPath, config.CreateHooks = "", "", nil
	config.NoFormatFallback = false
	config.Components.SecuritySchemes = map[string]*huma.SecurityScheme{
		"adminToken": {Type: "http", Scheme: "bearer", Description: "The admin token of the server."},
		"policy":     {Type: "apiKey", In: "header", Name: "Authorization", Description: "SharedAccessSignature of a policy of the hub."},
	}
	api := humago.New(mux, config)
	api.UseMiddleware(s.measure, s.authorize(api))
	s.addServer(api)
	s.addHubs(api)
	s.addPolicies(api)
	s.addAuthorities(api)
	s.addGroups(api)
	s.addBlobs(api)
	s.addQuota(api)
	s.addRouting(api)
	s.addEndpoints(api)
	s.addEvents(api)
	s.addProvisioning(api)
	return api
}

// operation returns what all operations have in common. Rights of zero leave
// the operation to the administrator.
func operation(id, method, path, tag, summary string, rights auth.Rights) huma.Operation {
	op := huma.Operation{
		OperationID: id, Method: method, Path: Prefix + path, Tags: []string{tag}, Summary: summary,
		MaxBodyBytes: maxBody, BodyReadTimeout: bodyTimeout,
		Security: []map[string][]string{{"adminToken": {}}},
		Errors:   []int{http.StatusUnauthorized},
		Metadata: map[string]any{},
	}
	if rights != 0 {
		op.Metadata[rightsKey] = rights
		op.Security = append(op.Security, map[string][]string{"policy": {}})
		op.Description = "A policy needs " + rights.String() + "."
		if rights == auth.RegistryRead|auth.RegistryWrite {
			op.Description = "A policy needs RegistryRead or RegistryWrite."
		}
	}
	return op
}

// measure counts and times requests.
func (s *Server) measure(ctx huma.Context, next func(huma.Context)) {
	began := time.Now()
	next(ctx)
	id := ctx.Operation().OperationID
	s.Metrics.Requests.WithLabelValues(id, strconv.Itoa(ctx.Status())).Inc()
	if id != eventsID { // a stream lasts as long as its reader likes
		s.Metrics.RequestLatency.WithLabelValues(id).Observe(time.Since(began).Seconds())
	}
}

// serverBody is what the server says of itself.
type serverBody struct {
	Version       string    `json:"version" doc:"Version of the program"`
	Commit        string    `json:"commit,omitempty" doc:"Source it was built from"`
	Started       time.Time `json:"started" doc:"When the process started"`
	UptimeSeconds int64     `json:"uptimeSeconds" doc:"Seconds since then"`
	Addresses     []Address `json:"addresses" nullable:"false" doc:"Where it listens"`
	Hubs          int       `json:"hubs" doc:"How many hubs it hosts"`
}

type serverOutput struct{ Body serverBody }

func (s *Server) addServer(api huma.API) {
	huma.Register(api, operation("getServer", http.MethodGet, "/server", "server", "Show version, uptime and addresses", 0),
		func(context.Context, *struct{}) (*serverOutput, error) {
			addrs := []Address{}
			if s.Addresses != nil {
				addrs = append(addrs, s.Addresses()...)
			}
			return &serverOutput{serverBody{
				Version: s.Info.Version, Commit: s.Info.Commit, Started: s.Info.Started.UTC(),
				UptimeSeconds: int64(time.Since(s.Info.Started).Seconds()),
				Addresses:     addrs, Hubs: len(s.Directory.List()),
			}}, nil
		})
}
