// Package deploy manages devices automatically: configurations say which
// desired properties the devices and modules under a target condition have, and
// edge deployments which modules edge devices run. It keeps configurations and
// keeps twins as they say.
//
//	a twin or an identity changes          a configuration changes
//	        │ Observe: which conditions            │ durable: rollout pending
//	        │ read what changed?                   ▼
//	        │                                 one pass over its targets
//	        ▼                                      │
//	     queue of devices ◀────────────────────────┘
//	        │ workers
//	        ▼
//	  membership ─▶ plan ─▶ trace (durable: paths about to be set)
//	                        ─▶ twin ─▶ status of the configurations ─▶ trace
//
// Nothing scans the devices of a hub when a twin changes: an index knows the
// conditions that read what changed, and which configurations target a device
// is written on the device. What ends in the twin depends on the configurations
// and on what their conditions read, not on the order in which they came: each
// plan is made anew from the configurations that target the twin, the lowest
// priority first, and whatever earlier plans set and this one does not is
// removed.
//
// Every step is durable before the next, and each can be repeated. A rollout
// that a restart interrupts begins again and finds most of it done; devices that
// waited are written down by an orderly stop, and after a crash all are looked
// at once.
//
// It does not know protocols, nor how conditions are evaluated.
package deploy
