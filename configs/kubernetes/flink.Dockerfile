# Flink with Beam's jars in lib/: docker build -f configs/kubernetes/flink.Dockerfile -t registry.example.com/ruiji-flink:0.1.0 .
FROM maven:3.9-eclipse-temurin-17 AS jars
WORKDIR /jars
COPY configs/kubernetes/flink-jars.xml pom.xml
# Flink's own are in the image; its log4j speaks for slf4j there.
RUN mvn -B -q org.apache.maven.plugins:maven-dependency-plugin:3.6.1:copy-dependencies \
        -DincludeScope=runtime -DexcludeGroupIds=org.apache.flink,org.slf4j,org.apache.logging.log4j -DoutputDirectory=lib

FROM flink:1.19.3-java17
COPY --from=jars /jars/lib/ /opt/flink/lib/
