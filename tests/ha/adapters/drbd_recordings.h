// What `drbdsetup events2` of drbd-utils 9.22 printed on two nodes with the DRBD 8.4.11 of Debian's
// kernel 6.1, from both being down to both being down. The lines with # say what was done next, on that node.
#pragma once

namespace itgtd::ha {

/// It was made Primary by force and synchronised the other; became Secondary while that went on; found the
/// other Primary; lost the link and was made Primary all the same; then the link came back: split brain, and
/// nobody wins.
inline constexpr const char* kDrbd84NodeOne = R"(exists -
# up
create resource name:r0 role:Secondary suspended:no
create device name:r0 volume:0 minor:0 disk:Diskless
create device name:r0 volume:1 minor:1 disk:Diskless
change device name:r0 volume:0 minor:0 disk:Attaching
change device name:r0 volume:0 minor:0 disk:Inconsistent
change device name:r0 volume:1 minor:1 disk:Attaching
change device name:r0 volume:1 minor:1 disk:Inconsistent
create connection name:r0 peer-node-id:0 conn-name:peer connection:StandAlone role:Unknown
create peer-device name:r0 peer-node-id:0 conn-name:peer volume:0 replication:Off peer-disk:DUnknown resync-suspended:no
create peer-device name:r0 peer-node-id:0 conn-name:peer volume:1 replication:Off peer-disk:DUnknown resync-suspended:no
change connection name:r0 peer-node-id:0 conn-name:peer connection:Unconnected
change connection name:r0 peer-node-id:0 conn-name:peer connection:Connecting
change connection name:r0 peer-node-id:0 conn-name:peer connection:Connected
change connection name:r0 peer-node-id:0 conn-name:peer role:Secondary
change peer-device name:r0 peer-node-id:0 conn-name:peer volume:0 replication:Established peer-disk:Inconsistent
change peer-device name:r0 peer-node-id:0 conn-name:peer volume:1 replication:Established peer-disk:Inconsistent
# force
change resource name:r0 role:Primary
change device name:r0 volume:0 minor:0 disk:UpToDate
change peer-device name:r0 peer-node-id:0 conn-name:peer volume:0 replication:WFBitMapS
call helper name:r0 peer-node-id:0 conn-name:peer volume:0 minor:0 helper:before-resync-source
change device name:r0 volume:1 minor:1 disk:UpToDate
response helper name:r0 peer-node-id:0 conn-name:peer volume:0 minor:0 helper:before-resync-source status:0
change peer-device name:r0 peer-node-id:0 conn-name:peer volume:0 replication:SyncSource
change peer-device name:r0 peer-node-id:0 conn-name:peer volume:1 replication:WFBitMapS
call helper name:r0 peer-node-id:0 conn-name:peer volume:1 minor:1 helper:before-resync-source
response helper name:r0 peer-node-id:0 conn-name:peer volume:1 minor:1 helper:before-resync-source status:0
change peer-device name:r0 peer-node-id:0 conn-name:peer volume:1 replication:SyncSource
# sync
# secondary (two takes over)
change resource name:r0 role:Secondary
change peer-device name:r0 peer-node-id:0 conn-name:peer volume:1 replication:Established peer-disk:UpToDate
change peer-device name:r0 peer-node-id:0 conn-name:peer volume:0 replication:Established peer-disk:UpToDate
change connection name:r0 peer-node-id:0 conn-name:peer role:Primary
# two is primary: primary here
# link down
change peer-device name:r0 peer-node-id:0 conn-name:peer volume:0 replication:Off peer-disk:DUnknown
change connection name:r0 peer-node-id:0 conn-name:peer connection:NetworkFailure role:Unknown
change peer-device name:r0 peer-node-id:0 conn-name:peer volume:1 replication:Off peer-disk:DUnknown
change connection name:r0 peer-node-id:0 conn-name:peer
change peer-device name:r0 peer-node-id:0 conn-name:peer volume:0
change peer-device name:r0 peer-node-id:0 conn-name:peer volume:1
change connection name:r0 peer-node-id:0 conn-name:peer connection:Unconnected
change connection name:r0 peer-node-id:0 conn-name:peer connection:Connecting
# primary while cut
change resource name:r0 role:Primary
# link up: split brain
change connection name:r0 peer-node-id:0 conn-name:peer connection:Connected
call helper name:r0 peer-node-id:0 conn-name:peer volume:0 minor:0 helper:initial-split-brain
response helper name:r0 peer-node-id:0 conn-name:peer volume:0 minor:0 helper:initial-split-brain status:0
call helper name:r0 peer-node-id:0 conn-name:peer volume:0 minor:0 helper:split-brain
response helper name:r0 peer-node-id:0 conn-name:peer volume:0 minor:0 helper:split-brain status:0
change connection name:r0 peer-node-id:0 conn-name:peer connection:Disconnecting
change connection name:r0 peer-node-id:0 conn-name:peer connection:StandAlone
destroy peer-device name:r0 peer-node-id:0 conn-name:peer volume:0
destroy peer-device name:r0 peer-node-id:0 conn-name:peer volume:1
destroy connection name:r0 peer-node-id:0 conn-name:peer
change resource name:r0 role:Secondary
change resource name:r0 role:Primary
change resource name:r0 role:Secondary
create connection name:r0 peer-node-id:0 conn-name:peer connection:StandAlone role:Unknown
create peer-device name:r0 peer-node-id:0 conn-name:peer volume:0 replication:Off peer-disk:DUnknown resync-suspended:no
create peer-device name:r0 peer-node-id:0 conn-name:peer volume:1 replication:Off peer-disk:DUnknown resync-suspended:no
change connection name:r0 peer-node-id:0 conn-name:peer connection:Unconnected
change connection name:r0 peer-node-id:0 conn-name:peer connection:Connecting
change connection name:r0 peer-node-id:0 conn-name:peer connection:Disconnecting
change connection name:r0 peer-node-id:0 conn-name:peer connection:StandAlone
destroy peer-device name:r0 peer-node-id:0 conn-name:peer volume:0
destroy peer-device name:r0 peer-node-id:0 conn-name:peer volume:1
destroy connection name:r0 peer-node-id:0 conn-name:peer
change device name:r0 volume:0 minor:0 disk:Failed
change device name:r0 volume:0 minor:0 disk:Diskless
change device name:r0 volume:1 minor:1 disk:Failed
change device name:r0 volume:1 minor:1 disk:Diskless
destroy device name:r0 volume:0 minor:0
destroy device name:r0 volume:1 minor:1
destroy resource name:r0
)";

/// The other one.
inline constexpr const char* kDrbd84NodeTwo = R"(exists -
# up
create resource name:r0 role:Secondary suspended:no
create device name:r0 volume:0 minor:0 disk:Diskless
create device name:r0 volume:1 minor:1 disk:Diskless
change device name:r0 volume:0 minor:0 disk:Attaching
change device name:r0 volume:0 minor:0 disk:Inconsistent
change device name:r0 volume:1 minor:1 disk:Attaching
change device name:r0 volume:1 minor:1 disk:Inconsistent
create connection name:r0 peer-node-id:0 conn-name:peer connection:StandAlone role:Unknown
create peer-device name:r0 peer-node-id:0 conn-name:peer volume:0 replication:Off peer-disk:DUnknown resync-suspended:no
create peer-device name:r0 peer-node-id:0 conn-name:peer volume:1 replication:Off peer-disk:DUnknown resync-suspended:no
change connection name:r0 peer-node-id:0 conn-name:peer connection:Unconnected
change connection name:r0 peer-node-id:0 conn-name:peer connection:Connecting
change connection name:r0 peer-node-id:0 conn-name:peer connection:Connected
change connection name:r0 peer-node-id:0 conn-name:peer role:Secondary
change peer-device name:r0 peer-node-id:0 conn-name:peer volume:0 replication:Established peer-disk:Inconsistent
change peer-device name:r0 peer-node-id:0 conn-name:peer volume:1 replication:Established peer-disk:Inconsistent
# one is primary
change connection name:r0 peer-node-id:0 conn-name:peer role:Primary
change peer-device name:r0 peer-node-id:0 conn-name:peer volume:0 peer-disk:UpToDate
change peer-device name:r0 peer-node-id:0 conn-name:peer volume:0 replication:WFBitMapT
change peer-device name:r0 peer-node-id:0 conn-name:peer volume:0 replication:WFSyncUUID
change peer-device name:r0 peer-node-id:0 conn-name:peer volume:1 peer-disk:UpToDate
change peer-device name:r0 peer-node-id:0 conn-name:peer volume:1 replication:WFBitMapT
call helper name:r0 peer-node-id:0 conn-name:peer volume:0 minor:0 helper:before-resync-target
response helper name:r0 peer-node-id:0 conn-name:peer volume:0 minor:0 helper:before-resync-target status:0
change peer-device name:r0 peer-node-id:0 conn-name:peer volume:0 replication:SyncTarget
change peer-device name:r0 peer-node-id:0 conn-name:peer volume:1 replication:WFSyncUUID
call helper name:r0 peer-node-id:0 conn-name:peer volume:1 minor:1 helper:before-resync-target
response helper name:r0 peer-node-id:0 conn-name:peer volume:1 minor:1 helper:before-resync-target status:0
change peer-device name:r0 peer-node-id:0 conn-name:peer volume:1 replication:SyncTarget
change connection name:r0 peer-node-id:0 conn-name:peer role:Secondary
call helper name:r0 peer-node-id:0 conn-name:peer volume:1 minor:1 helper:after-resync-target
response helper name:r0 peer-node-id:0 conn-name:peer volume:1 minor:1 helper:after-resync-target status:0
change device name:r0 volume:1 minor:1 disk:UpToDate
change peer-device name:r0 peer-node-id:0 conn-name:peer volume:1 replication:Established
call helper name:r0 peer-node-id:0 conn-name:peer volume:0 minor:0 helper:after-resync-target
response helper name:r0 peer-node-id:0 conn-name:peer volume:0 minor:0 helper:after-resync-target status:0
change device name:r0 volume:0 minor:0 disk:UpToDate
change peer-device name:r0 peer-node-id:0 conn-name:peer volume:0 replication:Established
# primary here (one is secondary by now)
change resource name:r0 role:Primary
change peer-device name:r0 peer-node-id:0 conn-name:peer volume:0 replication:Off peer-disk:DUnknown
change connection name:r0 peer-node-id:0 conn-name:peer connection:NetworkFailure role:Unknown
change peer-device name:r0 peer-node-id:0 conn-name:peer volume:1 replication:Off peer-disk:DUnknown
change connection name:r0 peer-node-id:0 conn-name:peer
change peer-device name:r0 peer-node-id:0 conn-name:peer volume:0
change peer-device name:r0 peer-node-id:0 conn-name:peer volume:1
change connection name:r0 peer-node-id:0 conn-name:peer connection:Unconnected
change connection name:r0 peer-node-id:0 conn-name:peer connection:Connecting
change connection name:r0 peer-node-id:0 conn-name:peer connection:Connected
call helper name:r0 peer-node-id:0 conn-name:peer volume:0 minor:0 helper:initial-split-brain
response helper name:r0 peer-node-id:0 conn-name:peer volume:0 minor:0 helper:initial-split-brain status:0
call helper name:r0 peer-node-id:0 conn-name:peer volume:0 minor:0 helper:split-brain
change connection name:r0 peer-node-id:0 conn-name:peer connection:NetworkFailure
response helper name:r0 peer-node-id:0 conn-name:peer volume:0 minor:0 helper:split-brain status:0
change connection name:r0 peer-node-id:0 conn-name:peer connection:Disconnecting
change connection name:r0 peer-node-id:0 conn-name:peer connection:StandAlone
destroy peer-device name:r0 peer-node-id:0 conn-name:peer volume:0
destroy peer-device name:r0 peer-node-id:0 conn-name:peer volume:1
destroy connection name:r0 peer-node-id:0 conn-name:peer
change resource name:r0 role:Secondary
change device name:r0 volume:0 minor:0 disk:Failed
change device name:r0 volume:0 minor:0 disk:Diskless
change device name:r0 volume:1 minor:1 disk:Failed
change device name:r0 volume:1 minor:1 disk:Diskless
destroy device name:r0 volume:0 minor:0
destroy device name:r0 volume:1 minor:1
destroy resource name:r0
)";

}  // namespace itgtd::ha
