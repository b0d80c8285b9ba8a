#!/bin/bash
# The official script's `start-foreground`, and no other verb.
[[ "$1" = start-foreground ]] || { echo "the stand-in knows only start-foreground" >&2; exit 1; }
# shellcheck disable=SC2086 (flags are several words)
exec java "-Xmx${ZK_SERVER_HEAP:-1000}m" $SERVER_JVMFLAGS $JVMFLAGS \
    -cp /usr/share/java/zookeeper.jar:/usr/share/java/slf4j-simple.jar \
    org.apache.zookeeper.server.quorum.QuorumPeerMain /conf/zoo.cfg
