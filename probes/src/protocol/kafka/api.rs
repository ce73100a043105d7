//! The requests that there are: their names, from which version on they are flexible, and where
//! their answers tell an error.
//!
//! Invariant: a row a request, by its number.

use crate::protocol::Handling;

/// Never flexible.
const NEVER: i16 = i16::MAX;

/// A kind of requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Api {
    pub(super) key: i16,
    pub(super) name: &'static str,
    /// From this version on fields are compact and have tags behind them.
    pub(super) flexible_from: i16,
    pub(super) shape: Shape,
}

/// What is read of a request and of its answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Shape {
    Produce,
    Fetch,
    ListOffsets,
    Metadata,
    OffsetCommit,
    OffsetFetch,
    FindCoordinator,
    /// Topics with an error each: those made and those deleted.
    CreateTopics,
    DeleteTopics,
    /// Its group is named first; the answer has its error behind a time from this version on.
    Group(i16),
    /// The answer has its error behind a time from this version on.
    Plain(i16),
    /// No error is looked for.
    Opaque,
}

const fn api(key: i16, name: &'static str, flexible_from: i16, shape: Shape) -> Api {
    Api { key, name, flexible_from, shape }
}

/// All of them.
static APIS: [Api; 89] = [
    api(0, "Produce", 9, Shape::Produce),
    api(1, "Fetch", 12, Shape::Fetch),
    api(2, "ListOffsets", 6, Shape::ListOffsets),
    api(3, "Metadata", 9, Shape::Metadata),
    api(4, "LeaderAndIsr", 4, Shape::Opaque),
    api(5, "StopReplica", 2, Shape::Opaque),
    api(6, "UpdateMetadata", 6, Shape::Opaque),
    api(7, "ControlledShutdown", 3, Shape::Opaque),
    api(8, "OffsetCommit", 8, Shape::OffsetCommit),
    api(9, "OffsetFetch", 6, Shape::OffsetFetch),
    api(10, "FindCoordinator", 3, Shape::FindCoordinator),
    api(11, "JoinGroup", 6, Shape::Group(2)),
    api(12, "Heartbeat", 4, Shape::Group(1)),
    api(13, "LeaveGroup", 4, Shape::Group(1)),
    api(14, "SyncGroup", 4, Shape::Group(1)),
    api(15, "DescribeGroups", 5, Shape::Opaque),
    api(16, "ListGroups", 3, Shape::Plain(1)),
    api(17, "SaslHandshake", NEVER, Shape::Plain(NEVER)),
    api(18, "ApiVersions", 3, Shape::Plain(NEVER)),
    api(19, "CreateTopics", 5, Shape::CreateTopics),
    api(20, "DeleteTopics", 4, Shape::DeleteTopics),
    api(21, "DeleteRecords", 2, Shape::Opaque),
    api(22, "InitProducerId", 2, Shape::Plain(0)),
    api(23, "OffsetForLeaderEpoch", 4, Shape::Opaque),
    api(24, "AddPartitionsToTxn", 3, Shape::Opaque),
    api(25, "AddOffsetsToTxn", 3, Shape::Plain(0)),
    api(26, "EndTxn", 3, Shape::Plain(0)),
    api(27, "WriteTxnMarkers", 1, Shape::Opaque),
    api(28, "TxnOffsetCommit", 3, Shape::Opaque),
    api(29, "DescribeAcls", 2, Shape::Plain(0)),
    api(30, "CreateAcls", 2, Shape::Opaque),
    api(31, "DeleteAcls", 2, Shape::Opaque),
    api(32, "DescribeConfigs", 4, Shape::Opaque),
    api(33, "AlterConfigs", 2, Shape::Opaque),
    api(34, "AlterReplicaLogDirs", 2, Shape::Opaque),
    api(35, "DescribeLogDirs", 2, Shape::Opaque),
    api(SASL_AUTHENTICATE, "SaslAuthenticate", 2, Shape::Plain(NEVER)),
    api(37, "CreatePartitions", 2, Shape::Opaque),
    api(38, "CreateDelegationToken", 2, Shape::Plain(NEVER)),
    api(39, "RenewDelegationToken", 2, Shape::Plain(NEVER)),
    api(40, "ExpireDelegationToken", 2, Shape::Plain(NEVER)),
    api(41, "DescribeDelegationToken", 2, Shape::Plain(NEVER)),
    api(42, "DeleteGroups", 2, Shape::Opaque),
    api(43, "ElectLeaders", 2, Shape::Opaque),
    api(44, "IncrementalAlterConfigs", 1, Shape::Opaque),
    api(45, "AlterPartitionReassignments", 0, Shape::Opaque),
    api(46, "ListPartitionReassignments", 0, Shape::Opaque),
    api(47, "OffsetDelete", NEVER, Shape::Opaque),
    api(48, "DescribeClientQuotas", 1, Shape::Plain(0)),
    api(49, "AlterClientQuotas", 1, Shape::Opaque),
    api(50, "DescribeUserScramCredentials", 0, Shape::Plain(0)),
    api(51, "AlterUserScramCredentials", 0, Shape::Opaque),
    api(52, "Vote", 0, Shape::Opaque),
    api(53, "BeginQuorumEpoch", 1, Shape::Opaque),
    api(54, "EndQuorumEpoch", 1, Shape::Opaque),
    api(55, "DescribeQuorum", 0, Shape::Opaque),
    api(56, "AlterPartition", 0, Shape::Opaque),
    api(57, "UpdateFeatures", 0, Shape::Plain(0)),
    api(58, "Envelope", 0, Shape::Opaque),
    api(59, "FetchSnapshot", 0, Shape::Opaque),
    api(60, "DescribeCluster", 0, Shape::Plain(0)),
    api(61, "DescribeProducers", 0, Shape::Opaque),
    api(62, "BrokerRegistration", 0, Shape::Opaque),
    api(63, "BrokerHeartbeat", 0, Shape::Opaque),
    api(64, "UnregisterBroker", 0, Shape::Plain(0)),
    api(65, "DescribeTransactions", 0, Shape::Opaque),
    api(66, "ListTransactions", 0, Shape::Plain(0)),
    api(67, "AllocateProducerIds", 0, Shape::Plain(0)),
    api(68, "ConsumerGroupHeartbeat", 0, Shape::Group(0)),
    api(69, "ConsumerGroupDescribe", 0, Shape::Opaque),
    api(70, "ControllerRegistration", 0, Shape::Opaque),
    api(71, "GetTelemetrySubscriptions", 0, Shape::Plain(0)),
    api(72, "PushTelemetry", 0, Shape::Plain(0)),
    api(73, "AssignReplicasToDirs", 0, Shape::Opaque),
    api(74, "ListConfigResources", 0, Shape::Plain(0)),
    api(75, "DescribeTopicPartitions", 0, Shape::Opaque),
    api(76, "ShareGroupHeartbeat", 0, Shape::Group(0)),
    api(77, "ShareGroupDescribe", 0, Shape::Opaque),
    api(78, "ShareFetch", 0, Shape::Plain(0)),
    api(79, "ShareAcknowledge", 0, Shape::Plain(0)),
    api(80, "AddRaftVoter", 0, Shape::Opaque),
    api(81, "RemoveRaftVoter", 0, Shape::Opaque),
    api(82, "UpdateRaftVoter", 0, Shape::Opaque),
    api(83, "InitializeShareGroupState", 0, Shape::Opaque),
    api(84, "ReadShareGroupState", 0, Shape::Opaque),
    api(85, "WriteShareGroupState", 0, Shape::Opaque),
    api(86, "DeleteShareGroupState", 0, Shape::Opaque),
    api(87, "ReadShareGroupStateSummary", 0, Shape::Opaque),
    api(88, "StreamsGroupHeartbeat", 0, Shape::Group(0)),
];

/// What carries credentials.
pub(super) const SASL_AUTHENTICATE: i16 = 36;
/// Its answers have no tags in their heads, so that any client can read them.
const API_VERSIONS: i16 = 18;

impl Api {
    /// The kind with this number.
    pub(super) fn of(key: i16) -> Option<&'static Self> {
        APIS.get(usize::try_from(key).ok()?)
    }

    /// Its operation, in the words of the clients' libraries where they have one.
    pub(super) fn operation(&self) -> &'static str {
        match self.shape {
            Shape::Produce => "send",
            Shape::Fetch => "poll",
            Shape::OffsetCommit => "commit",
            _ => self.name,
        }
    }

    pub(super) fn handling(&self) -> Option<Handling> {
        match self.shape {
            Shape::Produce => Some(Handling::Send),
            Shape::Fetch => Some(Handling::Receive),
            Shape::OffsetCommit => Some(Handling::Settle),
            _ => None,
        }
    }

    pub(super) fn flexible(&self, version: i16) -> bool {
        version >= self.flexible_from
    }

    /// The head of an answer has tags.
    pub(super) fn tagged_answer(&self, version: i16) -> bool {
        self.flexible(version) && self.key != API_VERSIONS
    }
}
