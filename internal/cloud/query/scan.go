package query

import (
	"context"

	"github.com/causeway-iot/causeway"
	"github.com/causeway-iot/causeway/internal/cloud/registry"
	"github.com/causeway-iot/causeway/internal/cloud/twinview"
	"github.com/causeway-iot/causeway/internal/lang/hubquery"
)

// scan goes through the rows of a hub that a condition means.
type scan struct {
	s       *Service
	hub     string
	cond    *hubquery.Condition
	live    Live              // nil when the hub does not run
	queued  bool              // whether the depths of queues are asked for
	need    registry.Parts    // what the condition, and who gets the rows, read
	whole   bool              // who gets the rows reads all of them
	long    bool              // there is no early end
	reached causeway.Identity // the last row looked at
	looked  int               // rows looked at
	stop    func() bool       // asked before every row; true ends the scan as errEnough does
}

// newScan returns a scan of rows of which some paths are read besides those of
// the condition.
func (s *Service) newScan(hub string, cond *hubquery.Condition, reads []*hubquery.Path) *scan {
	c := &scan{s: s, hub: hub, cond: cond}
	if s.liveOf != nil {
		if l, ok := s.liveOf(hub); ok {
			c.live = l
		}
	}
	for _, paths := range [][]*hubquery.Path{cond.References(), reads} {
		for _, p := range paths {
			c.need |= partsOf(p)
			c.queued = c.queued || p.Root == hubquery.CloudToDeviceMessageCount
		}
	}
	return c
}

// partsOf returns the parts of a record that a path is about.
func partsOf(p *hubquery.Path) registry.Parts {
	section := func(properties, metadata registry.Parts) registry.Parts {
		if len(p.Segments) == 0 {
			return registry.PartVersions | properties | metadata
		}
		switch s := p.Segments[0]; {
		case s.Element:
			return 0
		case s.Name == versionMember:
			return registry.PartVersions
		case s.Name == metadataMember:
			return metadata
		default:
			return properties
		}
	}
	switch p.Root {
	case hubquery.Unknown, hubquery.DeviceID, hubquery.ModuleID, hubquery.ConnectionState, hubquery.CloudToDeviceMessageCount:
		return 0
	case hubquery.ETag, hubquery.ModelID, hubquery.Version:
		return registry.PartTwin
	case hubquery.Tags:
		return registry.PartTags
	case hubquery.Desired:
		return section(registry.PartDesired, registry.PartDesiredMetadata)
	case hubquery.Reported:
		return section(registry.PartReported, registry.PartReportedMetadata)
	case hubquery.Properties:
		if len(p.Segments) > 0 {
			return 0
		}
		return registry.PartVersions | registry.PartDesired | registry.PartDesiredMetadata | registry.PartReported | registry.PartReportedMetadata
	case hubquery.Status, hubquery.StatusReason, hubquery.StatusUpdateTime:
		return registry.PartStatus
	case hubquery.AuthenticationType:
		return registry.PartAuthentication
	case hubquery.X509Thumbprint:
		return registry.PartThumbprints
	case hubquery.Capabilities, hubquery.DeviceScope, hubquery.ParentScopes:
		return registry.PartEdge
	case hubquery.ConnectionStateUpdatedTime, hubquery.LastActivityTime:
		return registry.PartActivity
	default:
		return registry.PartIdentity
	}
}

// run calls each with every row from the first beyond after. The row is valid
// until each returns.
func (c *scan) run(ctx context.Context, after causeway.Identity, each func(r *Row) error) error {
	row := &Row{}
	var failed error // of what is not in the record
	row.live = func() twinview.Live {
		l, err := c.facts(ctx, row.rec)
		if err != nil && failed == nil {
			failed = err
		}
		return l
	}
	sel := registry.Selection{
		Hub: c.hub, Modules: c.cond.Collection() == hubquery.Modules, After: after,
		Where: c.cond.Conjuncts(), Need: c.need, Whole: c.whole, Long: c.long || !c.cond.All(),
	}
	if c.whole && c.cond.All() {
		sel.Need = registry.AllParts // of every row; nothing to look at first
	}
	c.reached = after
	stopped := false
	if !c.cond.All() || c.stop != nil {
		sel.Keep = func(r *registry.Record) bool {
			if stopped = failed != nil || c.stop != nil && c.stop(); stopped {
				return true // so that it comes to deliver, which can end this
			}
			row.set(r)
			if c.cond.Match(row) {
				return true
			}
			c.reached = r.ID
			c.looked++
			return false
		}
	}
	deliver := func(r *registry.Record) error {
		if failed != nil {
			return failed
		}
		if stopped {
			return errEnough
		}
		c.looked++
		row.set(r)
		if err := each(row); err != nil {
			return err
		}
		c.reached = r.ID
		return failed
	}
	defer func() { c.s.metrics.Rows.Add(float64(c.looked)) }()
	if c.live != nil && onlyConnected(sel.Where) {
		return c.runConnected(ctx, sel, deliver)
	}
	return c.s.registry.Query(ctx, sel, deliver)
}

// onlyConnected reports whether the connected identities are a good way to the
// rows: they are known to the hub, not to the store.
func onlyConnected(where []hubquery.Conjunct) bool {
	connected := false
	for _, w := range where {
		switch w.Path.Root {
		case hubquery.ConnectionState:
			connected = connected || !w.Defined && !w.Prefix && len(w.Path.Segments) == 0 &&
				len(w.Values) == 1 && w.Values[0].Equal(hubquery.Text(twinview.Live{Connected: true}.State()))
		case hubquery.DeviceID, hubquery.Configurations:
			if !w.Defined {
				return false // fewer
			}
		}
	}
	return connected
}

// runConnected goes through the identities that are connected.
func (c *scan) runConnected(ctx context.Context, sel registry.Selection, deliver func(r *registry.Record) error) error {
	for {
		sel.IDs = c.live.Connected(sel.Modules, sel.After, liveBatch)
		if len(sel.IDs) == 0 {
			return nil
		}
		if err := c.s.registry.Query(ctx, sel, deliver); err != nil {
			return err
		}
		sel.After = sel.IDs[len(sel.IDs)-1]
		c.reached = sel.After
	}
}

// facts returns what is true of the identity of r now.
func (c *scan) facts(ctx context.Context, r *registry.Record) (twinview.Live, error) {
	var l twinview.Live
	if c.live != nil {
		l = twinview.Overlay(r, c.live.State(r.ID))
	} else {
		l = twinview.Live{StateUpdated: r.ConnectionStateUpdated, LastActivity: r.LastActivity}
	}
	if !c.queued || c.s.depth == nil {
		return l, nil
	}
	var err error
	l.Queued, err = c.s.depth(ctx, r.ID)
	return l, err
}
